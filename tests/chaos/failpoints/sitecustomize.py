"""Kills a worker of Ray at an armed point around a block's files.

Python imports this by itself where this folder is on PYTHONPATH. It does nothing until Ray's
writer of checkpoints is imported, and kills nothing where no point is armed: see
`tests/chaos/failpoint.py`, which arms them.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # what only types need would slow the start of every Python
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_WRITER = "ray.data.checkpoint.checkpoint_writer"
_SIGKILL = 9
_ARMED = os.environ.get("MEDSENT_CHAOS_ARMED")


class _WhenImported:
    """Finds the writer's module as ever, and patches it once it is loaded."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, _: Any = None) -> ModuleSpec | None:
        if name != _WRITER:
            return None
        spec = PathFinder.find_spec(name, path)
        loader: Any = spec and spec.loader
        if loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _patch(module.BatchBasedCheckpointWriter)  # type: ignore[attr-defined]

        loader.exec_module = exec_module
        return spec


def _patch(writer: Any) -> None:
    """Put the points around the writing of a block's data: ids pending, data, ids committed."""
    write, commit = writer.write_pending_checkpoint, writer.commit_checkpoint

    def write_pending_checkpoint(self: Any, ids: Any, checkpoint_id: str) -> Any:
        pending = write(self, ids, checkpoint_id)
        _pass("before_data")
        return pending

    def commit_checkpoint(self: Any, pending: Any) -> None:
        _pass("between")
        if os.path.exists(pending.committed_path):  # noqa: PTH110
            _pass("between_again")
        commit(self, pending)
        _pass("after_commit")

    writer.write_pending_checkpoint = write_pending_checkpoint
    writer.commit_checkpoint = commit_checkpoint


def _pass(point: str) -> None:
    """Count one pass of a point down, where it is armed; at the last one, die.

    `<point>.3.<serial>` becomes `<point>.2.<serial>`: a file is renamed by one process alone,
    so a point that many processes pass fires exactly once.
    """
    for name in os.listdir(_ARMED):  # noqa: PTH208
        armed, left, serial = name.split(".")
        if armed != point or not left.isdigit():
            continue
        state = f"{int(left) - 1}" if int(left) > 1 else f"fired-{os.getpid()}"
        after = f"{point}.{state}.{serial}"
        try:
            os.rename(f"{_ARMED}/{name}", f"{_ARMED}/{after}")  # noqa: PTH104
        except FileNotFoundError:
            continue
        if int(left) <= 1:
            os.kill(os.getpid(), _SIGKILL)


if _ARMED:
    sys.meta_path.insert(0, _WhenImported)  # type: ignore[arg-type]
