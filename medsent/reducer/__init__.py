"""Predictions reduced to integer counts: one state that merges in any order."""
