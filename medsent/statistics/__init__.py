"""Metrics from counts, and what is tuned from them."""
