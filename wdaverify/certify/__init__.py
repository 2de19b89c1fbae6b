"""Proofs of brackets and their checker: all that `recheck` trusts beside the reader and the problem. No solver, no torch."""
