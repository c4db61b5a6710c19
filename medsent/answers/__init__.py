"""The answer methods: what to ask the engine, and how to read its answer."""
