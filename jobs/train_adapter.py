"""Train on a Ray cluster: ray job submit -- python jobs/train_adapter.py jobs/train.yaml"""

from medsent.cli import command

if __name__ == "__main__":
    command("train")
