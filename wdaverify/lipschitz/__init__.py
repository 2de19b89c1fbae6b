"""Lipschitz constants: the exact one over activation cells, and the classical bounds beside it."""
