"""A large backlog labelled: all readers of an opinion at once, within a budget, for others."""
