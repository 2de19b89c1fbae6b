"""Bounds on pre-activations and margins over regions, batched in torch on the CPU, rounded outward."""
