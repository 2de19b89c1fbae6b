"""The distributionally robust value: column generation over exact inner answers, and the zero-one knapsack."""
