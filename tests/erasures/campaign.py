"""A month of nights and a growing backfill, with erasures, kills and upgrades between them."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.job import REPOSITORY
from tests.chaos.tokenizer import write_tokenizer
from tests.conftest import command
from tests.erasures.inputs import marks, write_backlog, write_test_set

_FIRST = date(2026, 11, 1)
NIGHTLY, _ARRIVING = 60, 24
"""Opinions of the test set, and of each shard of the backlog."""
_KILLED_WITHIN_S = 12.0
_ERASED_AT_ONCE = 3


@dataclass
class Campaign:
    """The month in a folder; every command as a user gives it."""

    folder: Path
    environment: Mapping[str, str]
    """By which a command of its own process joins the Ray of this one."""
    seed: int = 0
    erased: set[int] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._numbers = NIGHTLY
        self._method = "onepass"
        self._versions: dict[str, str] = {}
        model = write_tokenizer(self.folder / "model")
        write_test_set(self.folder / "test" / "part-0.parquet", range(NIGHTLY))
        nightly = {
            "input": {"path": str(self.folder / "test")},
            "statistics": {"replicates": 100},
        }
        self._write_job("nightly", model, nightly)
        backfill = {
            "input": {"path": str(self.folder / "backlog"), "columns": {"persona": None}},
            "labelled": {"partition_by": ["language"]},
            "statistics": {"replicates": 0},
        }
        self._write_job("backfill", model, backfill)

    @property
    def output(self) -> Path:
        """The folder of all runs."""
        return self.folder / "runs"

    @property
    def numbers(self) -> range:
        """All opinions that have come so far."""
        return range(self._numbers)

    def day(self, number: int, days: int) -> None:
        """Live through one day."""
        if number == days // 3:
            self._method = "bits"
            self.done["another method"] += 1
        if number == 2 * days // 3:
            self._upgrade()
        if number % 2 == 0:
            self._arrive()
        self._backfill(kill=self._random.random() < 0.3)
        self._night(number, kill=self._random.random() < 0.3)
        if number % 3 == 2:
            self._look()
            self._erase(kill=self._random.random() < 0.4)

    def _write_job(self, name: str, model: Path, more: dict[str, Any]) -> None:
        values = {
            "name": name,
            "output": {"path": str(self.output)},
            "model": {"source": str(model), "max_model_len": 1024},
            "variants": {"asked": {"method": "onepass"}},
            "engine": {"kind": "scripted", "rows_per_block": 8, "latency_s": 0.02},
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(values | more))

    def _arrive(self) -> None:
        coming = range(self._numbers, self._numbers + _ARRIVING)
        write_backlog(self.folder / "backlog" / f"part-{self._numbers:06}.parquet", coming)
        self._numbers += _ARRIVING

    def _upgrade(self) -> None:
        """Put another version of vLLM's description before the one that is installed."""
        site = self.folder / "site"
        info = site / "vllm-99.0.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 99.0.0\n")
        self._versions = {"PYTHONPATH": os.pathsep.join([str(site), str(REPOSITORY)])}
        self.done["another vLLM"] += 1

    def _backfill(self, *, kill: bool) -> None:
        self._run("backfill", [str(self.folder / "backfill.yaml")], kill=kill, codes=(0,))

    def _night(self, number: int, *, kill: bool) -> None:
        night = str(_FIRST + timedelta(days=number))
        given = [str(self.folder / "nightly.yaml"), "--date", night]
        self._run("nightly", given, kill=kill, codes=(0, 3))

    def _look(self) -> None:
        """Write what quotes opinions, and what counts few of them."""
        nights = sorted(self.output.glob("nightly-2*"))
        self._run("report", [str(nights[-1]), "--examples", "3"], codes=(0, 1, 2))
        if len(nights) > 1:
            self._run("compare", [str(nights[-2]), str(nights[-1])], codes=(0, 1))

    def _erase(self, *, kill: bool) -> None:
        """Erase opinions that have come, and one that is still to come."""
        here = [n for n in self.numbers if n not in self.erased]
        chosen = self._random.sample(here, _ERASED_AT_ONCE)
        runs = [str(run.parent) for run in self.output.glob("*/config.yaml")]
        self._erase_in(runs, chosen, kill=kill)
        self._erase_in(runs, [self._numbers + self._random.randrange(_ARRIVING)], kill=False)

    def _erase_in(self, runs: Sequence[str], numbers: Sequence[int], *, kill: bool) -> None:
        listed = self.folder / "ids.txt"
        listed.write_text("\ufeff" + "".join(f"{marks(n)[0]}\r\n" for n in numbers))
        self.erased |= set(numbers)
        self._run("erase", [*runs, "--opinion-ids", str(listed)], kill=kill, codes=(0, 1))
        listed.unlink()

    def _run(
        self, name: str, given: Sequence[str], *, codes: Sequence[int], kill: bool = False
    ) -> None:
        """Give a command, killed on the way first where it is to be."""
        if name in ("backfill", "nightly"):
            method = f"variants.asked.method={self._method}"
            given = [*given, f"--set={method}", "--set=output.mix_versions=true"]
        arguments = [sys.executable, "-m", "medsent", name, *given]
        environment = {**self.environment, **self._versions}
        if kill:
            started = subprocess.Popen(
                arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(self._random.uniform(2.0, _KILLED_WITHIN_S))
            self.done["kills"] += started.poll() is None
            started.kill()
            started.wait()
        self.done[name] += 1
        if self._versions:
            ended = subprocess.run(
                arguments, env=environment, capture_output=True, text=True, check=False
            )
        else:
            ended = command(name, *given)
        if ended.returncode not in codes:
            raise RuntimeError(f"{name} ended with {ended.returncode}: {ended.stderr[-2000:]}")
