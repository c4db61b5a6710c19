"""Figures in, the report out: HTML and Markdown of one document."""
