"""What `cluster/` holds, read for the tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "cluster"


@dataclass(frozen=True)
class Manifest:
    """One document of one file."""

    file: str
    document: dict[str, Any]

    @property
    def kind(self) -> str:
        kind: str = self.document["kind"]
        return kind

    @property
    def name(self) -> str:
        name: str = self.document["metadata"]["name"]
        return name

    def __str__(self) -> str:
        return f"{self.file}:{self.kind}"

    def pods(self) -> Iterator[dict[str, Any]]:
        """Yield each pod's spec in it."""
        for inner in _mappings(self.document):
            if "containers" in inner:
                yield inner

    def containers(self) -> Iterator[dict[str, Any]]:
        """Yield each container in it; the autoscaler's options are those of one."""
        for pod in self.pods():
            yield from pod["containers"]
            yield from pod.get("initContainers", [])
        for inner in _mappings(self.document):
            if "autoscalerOptions" in inner:
                yield {"name": "autoscaler", **inner["autoscalerOptions"]}

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield each RayJob's spec in it."""
        for inner in _mappings(self.document):
            if "entrypoint" in inner:
                yield inner

    def clusters(self) -> Iterator[dict[str, Any]]:
        """Yield each RayCluster's spec in it."""
        for inner in _mappings(self.document):
            if "headGroupSpec" in inner:
                yield inner


def manifests() -> list[Manifest]:
    """Return every document of every YAML file."""
    return [
        Manifest(file.name, document)
        for file in sorted(CLUSTER.glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    ]


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _mappings(inner)
