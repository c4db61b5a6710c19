"""Label a backlog on a Ray cluster: ray job submit -- python jobs/backfill.py jobs/backfill.yaml"""

from medsent.cli import command

if __name__ == "__main__":
    command("backfill")
