"""The one seam: an engine answers requests of token ids. vLLM is imported below here only."""
