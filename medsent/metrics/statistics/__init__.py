"""Counts in, metrics, intervals, tests, calibration and thresholds out."""
