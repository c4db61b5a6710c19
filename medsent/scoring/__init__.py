"""A job in, predictions out: its plan, the actors that ask the engines, and who watches them."""
