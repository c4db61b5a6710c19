"""`python -m medsent` is the command `medsent`."""

from medsent.cli import main

main()
