"""Memory of a running job's processes, looked at twice a second."""

import threading
from collections import defaultdict
from dataclasses import dataclass

import psutil

from tests.chaos import processes

DRIVER, SCORER, ENGINE, READER = "driver", "scorer", "engine", "reader of shards"
_READS = "ray::Read"
"""What Ray calls a worker while it reads."""
_EVERY_S = 0.5
_MIB = 1024**2


@dataclass(frozen=True)
class Figures:
    """Of one process, in MiB."""

    peak: float
    """Most resident memory seen."""
    mean: float
    """Mean resident memory over the second half of its life: it has warmed up by then."""
    private: float
    """Most resident memory seen that is not shared, as pages of Ray's object store are."""


class Sampler:
    """Looks at driver, scorer, engine and readers of a job while it runs."""

    def __init__(self, driver: int, tag: str) -> None:
        self._driver, self._tag = psutil.Process(driver), tag
        self._seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def figures(self) -> dict[str, Figures]:
        """Return what was seen of each process."""
        return {name: _figures(seen) for name, seen in self._seen.items()}

    def _loop(self) -> None:
        while not self._over.wait(_EVERY_S):
            for name, process in self._look().items():
                try:
                    memory = process.memory_info()
                except psutil.Error:
                    continue
                self._seen[name].append((memory.rss / _MIB, (memory.rss - memory.shared) / _MIB))

    def _look(self) -> dict[str, psutil.Process]:
        found = {DRIVER: self._driver}
        for engine in processes.engines(self._tag):
            found[ENGINE] = engine
        for scorer in processes.scorers(self._tag):
            found[SCORER] = scorer
        for process in self._children():
            if _READS in " ".join(processes.command(process)):
                found[READER] = process
        return found

    def _children(self) -> list[psutil.Process]:
        try:
            return self._driver.children(recursive=True)
        except psutil.Error:
            return []


def _figures(seen: list[tuple[float, float]]) -> Figures:
    resident = [rss for rss, _ in seen]
    warm = resident[len(resident) // 2 :]
    return Figures(max(resident), sum(warm) / len(warm), max(private for _, private in seen))
