"""The cell engine: branch and bound of our own over activation cells, on LP relaxations whose bounds we recompute."""
