"""Curved functions of one number, a file each: what encloses their values, their slopes, and the largest ``q phi(z) - nu z``."""
