"""Functions of which nothing is known: what they depend on, and whether their steps agree with the whole."""
