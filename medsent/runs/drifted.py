"""`drift.json`: how far a backfill has moved from its reference, whose predictions it pins."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from medsent.runs.folder import RunFolder

_FILE = "drift.json"


def write_drift(run: RunFolder, reference: RunFolder, figures: Mapping[str, Any]) -> None:
    """Write what a run's drift from its reference is."""
    told = {"reference": str(reference.path), **figures}
    run.write(_FILE, json.dumps(told, indent=1))


def reference_of(run: RunFolder) -> str | None:
    """Return the folder a run is watched against; None where it is against none, or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((run.path / _FILE).read_text())["reference"])
    return None


def forget_drift(run: RunFolder) -> None:
    """Remove a run's drift figures; its reference stays, so that retention still keeps that run."""
    for left in run.path.glob(f".{_FILE}.*"):
        left.unlink(missing_ok=True)
    file, reference = run.path / _FILE, reference_of(run)
    if reference is None:
        file.unlink(missing_ok=True)
    else:
        run.write(_FILE, json.dumps({"reference": reference}))
