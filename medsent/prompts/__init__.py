"""A record and a prompt file in, token ids out; an opinion is text and nothing else."""
