"""What follows from a graph without running it: types, offsets, masks, and in which order its nodes can be computed."""
