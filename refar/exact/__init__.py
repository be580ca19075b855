"""The literal specification: the definitions as nested loops over exact numbers. The oracle is checked against it."""
