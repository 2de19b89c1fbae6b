"""What is re-evaluated before it counts: points, losses, distributions. No solver, no torch."""
