"""Requests of token ids in, answers out; vLLM is imported below here only."""
