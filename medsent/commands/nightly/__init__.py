"""A nightly evaluation: against a reference and the last good night, through a gate."""
