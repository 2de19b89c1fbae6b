"""Loops in C, built where a C compiler is when the package is installed. Each has a twin in numpy beside its caller, which is its test."""
