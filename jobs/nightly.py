"""Evaluate tonight on a Ray cluster: ray job submit -- python jobs/nightly.py jobs/nightly.yaml"""

from medsent.cli import command

if __name__ == "__main__":
    command("nightly")
