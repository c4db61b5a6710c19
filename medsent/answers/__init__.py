"""A record's answer: what form to ask the engine for, and labels out of what it says."""
