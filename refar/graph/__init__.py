"""Networks as data: the graph, its JSON, and graphs made from graphs."""
