"""Optimal transport over finitely many atoms: the restricted master, the knapsack, and models of phi. numpy only."""
