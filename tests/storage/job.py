"""A job whose commands are processes that reach an S3 server."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.storage.server import Server

PATIENCE_S = 180


@dataclass(frozen=True)
class Job:
    """The settings of a job, and what its commands need to reach the server."""

    config: Path
    environment: dict[str, str]

    @classmethod
    def of(cls, values: dict[str, Any], folder: Path, server: Server) -> "Job":
        """Write a job's settings into a folder, where its Ray has its files too."""
        config = folder / "job.yaml"
        config.write_text(yaml.safe_dump(values))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            **server.environment(),
            "RAY_TMPDIR": str(folder / "ray"),
        }
        return cls(config, environment)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "medsent", *command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, *command: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command)
        said, complained = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(command, process.returncode, said, complained)
