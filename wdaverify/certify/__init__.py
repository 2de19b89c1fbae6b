"""What is re-evaluated before it counts. No solver, no torch."""
