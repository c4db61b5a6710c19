"""The report of a run: its model, and what is rendered from it."""
