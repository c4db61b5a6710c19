"""A model or an adapter by name in, a checked folder out: whole weights, fitting modules."""
