"""A run's folder: what is in it, and whether it is complete."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from medsent.config.job import JobConfig
from medsent.errors import RunError
from medsent.config.loader import load_settings
from medsent.storage.paths import (AnyPath, any_path, append_line, read_lines, remove_folder, write_whole)


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

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest, or None where the run is not complete."""
        try:
            manifest: dict[str, Any] = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"{self.manifest_file} is damaged; delete it and run again") from error
        return manifest

    def complete(self) -> dict[str, Any]:
        """Return the manifest. Raises `RunError` where the run is not complete."""
        manifest = self.manifest()
        if manifest is None:
            raise RunError(f"{self.path} is not complete; run its job again to finish it first")
        return manifest

    def log(self, event: str, **values: Any) -> None:
        """Append one line to `log.jsonl`."""
        line = {"at": datetime.now(UTC).isoformat(), "event": event, **values}
        append_line(self.path / "log.jsonl", json.dumps(line))

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one kind, oldest first."""
        found = []
        for line in read_lines(self.path / "log.jsonl"):
            with suppress(ValueError):  # a line that a kill cut short
                entry = json.loads(line)
                if entry["event"] == event:
                    found.append(entry)
        return found

    def thresholds(self) -> dict[str, dict[str, Any]]:
        """Return what is kept of each variant's thresholds: `values`, `file`, `tuned_on`, ..."""
        try:
            text = (self.path / "thresholds.json").read_text(encoding="utf-8")
            kept: dict[str, dict[str, Any]] = json.loads(text)
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.path} has no readable thresholds.json; run its job again"
            ) from error
        return kept

    def cuts(self, methods: Mapping[str, str]) -> dict[str, dict[str, float] | None]:
        """Return of each of these variants label to threshold, as they are in use.

        None for a variant that stores no probabilities, only labels. A run tells which do; one
        of before does not: there every method but json did, so `methods` are the variants'.
        """
        kept = self.thresholds()
        found: dict[str, dict[str, float] | None] = {}
        for name, method in methods.items():
            entry = kept.get(name, {})
            found[name] = entry["values"] if entry.get("probabilities", method != "json") else None
        return found

    def write(self, name: str, data: str | bytes) -> AnyPath:
        """Write a file whole or not at all."""
        return write_whole(self.path / name, data)

    def holds_predictions(self) -> bool:
        """Tell whether the run has any, or has none yet or none any more."""
        return any(self.predictions.glob("*.parquet"))

    def drop_predictions(self) -> None:
        """Remove predictions and checkpoint; the reports and what they say stay."""
        self.log("predictions_dropped")
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
        return load_settings(JobConfig, file)


def runs_named(output: AnyPath, name: str) -> list[RunFolder]:
    """Return the runs of a job's name or of its nights, complete or not, and of no longer name."""
    own = re.compile(rf"{re.escape(name)}(-\d{{4}}-\d\d-\d\d)?-[^-]+")
    return [RunFolder(each) for each in output.glob(f"{name}-*") if own.fullmatch(each.name)]
