"""What callers hand in, checked against a graph: inputs, conditions, parameters, options."""
