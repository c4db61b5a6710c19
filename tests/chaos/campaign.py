"""Runs of the real job, each killed several times and then checked row by row."""

import argparse
import os
import random
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsent.console import ENVIRONMENT
from tests.chaos import processes
from tests.chaos.check import Reference, Verdict
from tests.chaos.failpoint import Failpoints
from tests.chaos.job import Job, write_config
from tests.chaos.kills import OWN_RAY, Killer
from tests.chaos.nodes import SETTINGS, Nodes
from tests.chaos.opinions import write_shards
from tests.chaos.tokenizer import write_tokenizer
from tests.chaos.toll import Account

_METHODS = {"plain": "onepass", "digits": "bits"}
_RUN_LIMIT_S = 1800.0
_ENGINES_GONE_S = 60.0
_ERRORS_IN_A_ROW = 3


class Campaign:
    """A queue of kills, done to as many runs as it takes."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        """Make the input and start Ray's nodes."""
        self._folder, self._seed, self._keep = folder, options.seed, options.keep
        self._replicas, self._kills_a_run = options.replicas, options.kills_a_run
        self._rng = random.Random(options.seed)
        self._tag = uuid.uuid4().hex
        self._points = Failpoints(folder / "armed")
        self._source = folder / "shards"
        self.account = Account(options.kinds)
        write_shards(
            self._source,
            opinions=options.opinions,
            shards=3,
            seed=options.seed,
            bad_rows=True,
        )
        self._model = write_tokenizer(folder / "model")
        self._environment = self._make_environment()
        self._nodes = Nodes(self._environment)
        self._killer = Killer(
            self._rng,
            self._tag,
            self._points,
            self._nodes,
            latest_s=options.latest_s,
            passes=options.passes,
            with_driver=options.with_driver,
        )
        self._runs = 0

    def make_reference(self) -> float:
        """Score the input once, undisturbed; return the seconds it took."""
        started = time.monotonic()
        job = self._job("reference", own_ray=False)
        job.start()
        if job.wait(started + _RUN_LIMIT_S) != 0 or job.run is None:
            raise AssertionError(f"{job.folder}: the undisturbed run failed: {job.last_words()}")
        self._reference = Reference(self._source, job.run)
        return time.monotonic() - started

    def run(self, queue: Sequence[str]) -> None:
        """Do all kills of the queue, a few a run; one that finds no live target is done later."""
        left = list(queue)
        while left and not self.account.failed:
            kinds = self._draw(left)
            for kind in (Counter(kinds) - Counter(self._one(kinds))).elements():
                left.remove(kind)

    def close(self) -> None:
        """End Ray's nodes."""
        self._nodes.close()
        self.account.outlived_s = list(self._killer.outlived_s)

    def _draw(self, left: Sequence[str]) -> list[str]:
        """Return the next run's kills; those on a Ray of the job's own keep to themselves."""
        count = self._rng.randint(*self._kills_a_run)
        own = [kind for kind in left if kind == OWN_RAY]
        shared = [kind for kind in left if kind != OWN_RAY]
        pool = own if own and self._rng.random() < len(own) / len(left) else shared or own
        return self._rng.sample(pool, min(count, len(pool)))

    def _one(self, kinds: Sequence[str]) -> list[str]:
        """Run one job to its end; return the kinds of kill that found no live target."""
        self._runs += 1
        started = time.monotonic()
        job = self._job(f"run-{self._runs:03d}", own_ray=OWN_RAY in kinds)
        landed: list[str] = []
        verdict = self._disturb(job, kinds, landed, started + _RUN_LIMIT_S)
        self._points.clear()
        if not verdict and job.run is not None:
            verdict = self._reference.check(job.run)
            verdict.faults += self._left_over()
        job.close()
        self.account.settle(landed, verdict, f"seed {self._seed}, {job.folder}")
        print(
            f"{job.folder.name}: {', '.join(landed)}: {job.starts} starts, {verdict.lost} lost, "
            f"{verdict.doubled} doubled, {time.monotonic() - started:.0f} s "
            f"({self.account.kills} kills so far)",
            flush=True,
        )
        for fault in verdict.faults:
            print(f"  {fault}", flush=True)
        if not verdict and not self._keep:
            shutil.rmtree(job.folder)
        return list((Counter(kinds) - Counter(landed)).elements())

    def _disturb(
        self, job: Job, kinds: Sequence[str], landed: list[str], deadline: float
    ) -> Verdict:
        """Kill, and give the command again where it ended, until it is done; note what landed."""
        verdict, errors = Verdict(), 0
        job.start()
        for kind in kinds:
            struck = self._killer.strike(job, kind)
            verdict.faults += struck.faults
            self.account.by_kind[kind].resumes += struck.resumes
            if struck.landed:
                job.note(f"killed {kind}")
                landed.append(kind)
                self.account.by_kind[kind].kills += 1
                errors = 0
            if job.ended() == 0:
                return verdict
            if job.ended() is not None:
                errors += self._resume(job, kind)
        while (code := job.wait(deadline)) is not None and code != 0:
            errors += self._resume(job, landed[-1] if landed else kinds[0])
            if errors > _ERRORS_IN_A_ROW:
                verdict.faults.append(f"ends with an error each time: {job.last_words()}")
                return verdict
        if code is None:
            verdict.faults.append(f"runs on after {_RUN_LIMIT_S:.0f} s: {job.last_words()}")
        return verdict

    def _resume(self, job: Job, kind: str) -> int:
        """Give the command again; return 1 where the job had ended with an error of its own."""
        by_itself = (job.ended() or 0) > 0
        if by_itself:
            self.account.ended.append(f"{job.folder.name}, after {kind}: {job.last_words()}")
        self.account.by_kind[kind].resumes += 1
        job.start()
        return int(by_itself)

    def _left_over(self) -> list[str]:
        """Wait for the job's engines to go; return what is wrong where they do not."""
        if processes.seconds_until_gone(processes.engines(self._tag), _ENGINES_GONE_S) is None:
            return [f"engines outlive their job by {_ENGINES_GONE_S:.0f} s"]
        return []

    def _job(self, name: str, *, own_ray: bool) -> Job:
        folder = self._folder / name
        config = write_config(
            folder / "job.yaml",
            source=self._source,
            output=folder / "runs",
            model=self._model,
            methods=_METHODS,
            engine={
                "latency_s": 0.04,
                "max_num_seqs": 8,
                "rows_per_block": 48,
                "replicas": {"min": self._replicas, "max": self._replicas},
                "supervision": {"hang_s": 30.0},
            },
        )
        ray: dict[str, str] = {"RAY_ADDRESS": self._nodes.address}
        if own_ray:
            # Not the folder of the nodes' Ray: a job finds and joins that.
            ray = {"RAY_TMPDIR": str(self._folder / "own")}
        return Job(config, {**self._environment, **ray})

    def _make_environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        made: dict[str, Any] = {**inherited, **ENVIRONMENT, **SETTINGS, **self._points.environment}
        made["RAY_TMPDIR"] = str(self._folder / "ray")
        made[processes.TAG] = self._tag
        return made
