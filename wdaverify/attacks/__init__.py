"""Attacks: WDA(m) and WDA++. They claim nothing; what they find is re-evaluated before it counts."""
