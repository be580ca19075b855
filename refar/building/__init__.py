"""Everything that makes a valid graph: the builder, JSON read strictly, graphs made from graphs."""
