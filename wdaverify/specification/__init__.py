"""Specifications: what is asked of a network's inputs and outputs, and the reader of VNN-LIB files."""
