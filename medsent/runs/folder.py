"""A run's folder: what is in it, and whether it is complete."""

import re
from dataclasses import dataclass
from typing import TypeVar

import yaml
from pydantic import ValidationError

from medsent.config.job import JobConfig
from medsent.config.loader import load_settings
from medsent.errors import RunError
from medsent.runs.files import read_file
from medsent.runs.log import Dropped, Logged
from medsent.runs.manifest import Manifest
from medsent.storage.paths import (
    AnyPath,
    append_line,
    last_line_ns,
    read_lines,
    remove_folder,
    write_whole,
)

CLUSTERS = "clusters.json"
"""The file of opinions whose texts are nearly the same; most runs have none."""

QUOTING = ("report-with-opinions.md", "report-with-opinions.html")
"""The report that quotes opinions: nobody but who asked for it may read it."""

Line = TypeVar("Line", bound=Logged)


@dataclass(frozen=True)
class RunFolder:
    """`<output>/<name>-<fingerprint>/`; its manifest is written last and means complete."""

    path: AnyPath

    @property
    def predictions(self) -> AnyPath:
        return self.path / "predictions"

    @property
    def checkpoint(self) -> AnyPath:
        """What a run of an earlier version kept of what is done; others have none."""
        return self.path / "checkpoint"

    @property
    def labelled(self) -> AnyPath:
        """What a backfill hands on; in other runs there is none."""
        return self.path / "labelled"

    @property
    def fingerprint(self) -> str:
        """That of the plan the run was opened for."""
        return self.path.name.rpartition("-")[2]

    @property
    def manifest_file(self) -> AnyPath:
        return self.path / "manifest.json"

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None where the run is not complete."""
        return read_file(self.manifest_file, Manifest, "delete it and run again")

    def complete(self) -> Manifest:
        """Return the manifest. Raises `RunError` where the run is not complete."""
        manifest = self.manifest()
        if manifest is None:
            raise RunError(f"{self.path} is not complete; run its job again to finish it first")
        return manifest

    def log(self, line: Logged) -> None:
        """Append one line to `log.jsonl`."""
        append_line(self.path / "log.jsonl", line.to_line())

    def events(self, kind: type[Line]) -> list[Line]:
        """Return the log's lines of one kind, oldest first.

        Raises `RunError` where one of them lacks a field, or has it in another form.
        """
        file, found = self.path / "log.jsonl", list[Line | None]()
        for number, line in enumerate(read_lines(file), 1):
            try:
                found.append(kind.of(line))
            except ValidationError as error:
                field = ".".join(map(str, error.errors()[0]["loc"]))
                raise RunError(
                    f"{file}, line {number}: {field} is missing or cannot be read; go on with the "
                    "version of medsent that wrote it, or begin a new run"
                ) from error
        return [line for line in found if line is not None]

    def logged_ns(self) -> int:
        """Return when a line was last logged, in nanoseconds since 1970; 0 where none was."""
        return last_line_ns(self.path / "log.jsonl")

    def write(self, name: str, data: str | bytes, mode: int | None = None) -> AnyPath:
        """Write a file whole or not at all; `mode` sets its permissions on a file system."""
        return write_whole(self.path / name, data, mode)

    def holds_predictions(self) -> bool:
        """Tell whether the run has any, or has none yet or none any more."""
        return any(self.predictions.glob("*.parquet"))

    def drop_predictions(self) -> None:
        """Remove predictions, checkpoint and what quotes them; the reports and figures stay."""
        self.log(Dropped())
        for name in (CLUSTERS, *QUOTING):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.checkpoint, self.predictions):
            remove_folder(folder)

    def keep_config(self, config: JobConfig) -> None:
        """Write the configuration into the run, so that it can be read from any folder."""
        values = config.anchored().model_dump(mode="json")
        self.write("config.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def config(self) -> JobConfig:
        """Return the configuration the run was made with."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise RunError(f"{self.path} is no run: it has no config.yaml")
        return load_settings(JobConfig, file, kept=True)


def runs_named(output: AnyPath, name: str) -> list[RunFolder]:
    """Return the runs and nights of the job of this very name, whether complete or not."""
    own = re.compile(rf"{re.escape(name)}(-\d{{4}}-\d\d-\d\d)?-[^-]+")
    return [RunFolder(each) for each in output.glob(f"{name}-*") if own.fullmatch(each.name)]
