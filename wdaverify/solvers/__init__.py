"""Back-ends: they see a MilpModel, never a network."""
