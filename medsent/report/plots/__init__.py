"""Figures in, SVG drawings of the report out."""
