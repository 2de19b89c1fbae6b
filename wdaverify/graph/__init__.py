"""What a network is: a graph of affine nodes and elementwise functions. No norm, no solver, no torch."""
