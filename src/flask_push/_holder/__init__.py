"""A process that holds runs: what it stores of them, and its signs of life."""
