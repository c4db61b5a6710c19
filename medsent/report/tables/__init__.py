"""Figures in, tables of the report out."""
