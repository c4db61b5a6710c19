"""The real job as a process of its own: started, killed, and started again until it is done."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import yaml

REPOSITORY = Path(__file__).parents[2]


def write_config(
    file: Path,
    *,
    source: Path,
    output: Path,
    model: Path,
    methods: Mapping[str, str],
    engine: Mapping[str, Any],
) -> Path:
    """Write a job with the scripted engine; `methods` names each variant's way to ask."""
    values = {
        "name": "chaos",
        "note": "Made up by a seeded program.",
        "input": {"path": str(source)},
        "output": {"path": str(output)},
        "model": {"source": str(model), "max_model_len": 1024},
        "variants": {name: {"method": method} for name, method in methods.items()},
        "engine": {"kind": "scripted", **engine},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


@dataclass
class Job:
    """`python jobs/evaluate.py CONFIG`; what it says goes to `said.log` beside the settings."""

    config: Path
    environment: Mapping[str, str]
    script: str = "jobs/evaluate.py"
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _blocks_before: int = field(default=0, repr=False)
    _log: IO[bytes] | None = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        """The folder of the job's settings, log and runs."""
        return self.config.parent

    @property
    def run(self) -> Path | None:
        """The run's folder, once there is one."""
        return next(iter(sorted((self.folder / "runs").glob("chaos-*"))), None)

    @property
    def pid(self) -> int:
        """The driver's process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Run the command, again where it ran before."""
        self._close()
        self._log = (self.folder / "said.log").open("ab")
        self.starts += 1
        self._blocks_before = len(self.blocks())
        self.note(f"start {self.starts}")
        self.process = subprocess.Popen(
            [sys.executable, self.script, str(self.config)],
            cwd=REPOSITORY,
            env=dict(self.environment),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ended(self) -> int | None:
        """Return the exit code, None while the job runs."""
        return self.process.poll() if self.process else None

    def kill(self) -> bool:
        """Kill -9 the driver; tell whether that is what it died of."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.kill()
        return self.process.wait() == -signal.SIGKILL

    def wait(self, deadline: float) -> int | None:
        """Wait for the job's end until a time of the monotonic clock; None where it runs on."""
        while (code := self.ended()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return code

    def blocks_done(self) -> int:
        """Count the blocks done since the last start; a requeue may make it negative."""
        return len(self.blocks()) - self._blocks_before

    def note(self, line: str) -> None:
        """Put a line of ours between those of the job."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with (self.folder / "said.log").open("a", encoding="utf-8") as log:
            log.write(f"{at} chaos: {line}\n")

    def last_words(self) -> str:
        """Return the last line that the job wrote."""
        lines = (self.folder / "said.log").read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if " chaos: " not in line), "")

    def close(self) -> None:
        """End the job."""
        self.kill()
        self._close()

    def blocks(self) -> set[str]:
        """Return the files of the blocks that are done."""
        if self.run is None:
            return set()
        files = (self.run / "predictions").glob("*.parquet")
        return {file.name for file in files if not file.name.endswith(".part.parquet")}

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
