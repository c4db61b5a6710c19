"""Prompts: what a record is asked, as a file says it, and its token ids."""
