"""YAML and `--set` in, one strict job out: every key is known, every value checked."""
