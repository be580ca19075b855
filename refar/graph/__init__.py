"""Networks as data: nodes in the order of evaluation, and their canonical JSON."""
