"""Copy the cluster of raycluster.yaml into the files of the jobs: python cluster/spread.py

Each manifest is whole, so that `kubectl apply -f` takes it as it is; this keeps them alike.
"""

from pathlib import Path
from textwrap import dedent, indent

HERE = Path(__file__).parent
_SOURCE, _TARGET = "\nspec:\n", "rayClusterSpec:\n"


def with_cluster(job: str, cluster: str) -> str:
    """Return a job's manifest with the cluster's `spec` under its last key, `rayClusterSpec`."""
    spec = dedent(cluster.partition(_SOURCE)[2])
    head, key, _ = job.partition(_TARGET)
    margin = len(head) - len(head.rstrip(" "))
    return head + key + indent(spec, " " * (margin + 2))


def job_files() -> list[Path]:
    """Return the manifests that hold a copy of the cluster."""
    return sorted(HERE.glob("ray*job-*.yaml"))


if __name__ == "__main__":
    cluster = (HERE / "raycluster.yaml").read_text(encoding="utf-8")
    for file in job_files():
        file.write_text(with_cluster(file.read_text(encoding="utf-8"), cluster), encoding="utf-8")
