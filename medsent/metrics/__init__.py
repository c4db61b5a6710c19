"""Counts in, figures out: metrics with intervals and tests, and the findings that follow."""
