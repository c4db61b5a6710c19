"""A job whose commands are processes that reach an S3 server."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests.storage.server import Server

PATIENCE_S = 400
_SENT = ("AWS_", "MEDSENT_", "NO_PROXY")


@dataclass(frozen=True)
class Job:
    """The settings of a job, and what its commands need to reach the server."""

    config: Path
    environment: dict[str, str]

    @classmethod
    def of(cls, values: dict[str, Any], folder: Path, server: Server) -> "Job":
        """Write a job's settings into a folder, where a Ray of its own has its files too."""
        config = folder / "job.yaml"
        config.write_text(yaml.safe_dump(values))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            **server.environment(),
            "RAY_TMPDIR": str(folder / "ray"),
        }
        return cls(config, environment)

    def on(self, joining: Mapping[str, str]) -> "Job":
        """Return it on a cluster, whose actors are sent what the job reaches the server by."""
        reaching = [name for name in self.environment if name.startswith(_SENT)]
        sent = {"env_vars": {name: self.environment[name] for name in reaching}}
        # As `ray job submit --runtime-env-json` hands it to the command that it starts.
        told = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": sent})}
        return replace(self, environment={**self.environment, **joining, **told})

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
