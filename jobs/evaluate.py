"""Evaluate on a Ray cluster: ray job submit -- python jobs/evaluate.py jobs/evaluate.yaml"""

from medsent.cli import command

if __name__ == "__main__":
    command("evaluate")
