"""YAML and `--set` in, one strict job out, with its labels and personas: every value is checked."""
