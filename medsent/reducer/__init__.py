"""Predictions in, integer counts out: one state that merges in any order."""
