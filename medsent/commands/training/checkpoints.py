"""Checkpoints on disk: which is the last whole one, and whose training it belongs to."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsent.errors import ConfigError
from medsent.storage.paths import write_whole

_ELAPSED = "elapsed.json"
_OWNER = "training.json"
_NAME = re.compile(r"checkpoint-(\d+)")
BASE = "base"
"""In a recipe: the hash of the base model's content."""


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint."""

    folder: Path
    step: int
    seconds: float
    """Trained up to here, over all sessions."""


def mark_whole(folder: Path, seconds: float) -> None:
    """Write what a checkpoint needs last, so that its existence means the rest is there."""
    write_whole(folder / _ELAPSED, json.dumps({"seconds": seconds}))


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the whole checkpoint of the most steps under `folder`, or None."""
    whole = [
        Checkpoint(path.parent, int(match[1]), json.loads(path.read_text())["seconds"])
        for path in folder.glob(f"*/{_ELAPSED}")
        if (match := _NAME.fullmatch(path.parent.name))
    ]
    return max(whole, key=lambda checkpoint: checkpoint.step, default=None)


def drop_partial(folder: Path) -> None:
    """Remove checkpoints that a kill left half written, lest they push out whole ones."""
    for path in folder.glob("checkpoint-*"):
        if path.is_dir() and not (path / _ELAPSED).is_file():
            shutil.rmtree(path)


def claim(folder: Path, recipe: dict[str, Any]) -> None:
    """Record whose checkpoints these are; raises as `refuse_others`."""
    refuse_others(folder, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _OWNER, json.dumps(recipe, indent=1, sort_keys=True))


def refuse_others(folder: Path, recipe: dict[str, Any]) -> None:
    """Raise `ConfigError` where another training (other data, method, shape ...) left some here.

    The base model counts where both know it: older checkpoints do not say which it was.
    """
    file = folder / _OWNER
    if not file.is_file():
        return
    theirs = json.loads(file.read_text(encoding="utf-8"))
    changed = {key for key in recipe.keys() | theirs if recipe.get(key) != theirs.get(key)}
    if BASE not in recipe or BASE not in theirs:
        changed.discard(BASE)
    if changed == {BASE}:
        raise ConfigError(
            f"model.source: {folder} holds checkpoints of a training on another content of this "
            "model's files; put that back (for a model of the hub, name its commit as "
            "model.revision), delete the checkpoints or name another output"
        )
    if changed:
        raise ConfigError(
            f"output: {folder} holds checkpoints of a training with other settings "
            f"({', '.join(sorted(changed))}); delete them or name another output"
        )
