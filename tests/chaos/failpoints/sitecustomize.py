"""Kills a worker of Ray at an armed point around a block's file, or holds one there.

Python imports this by itself where this folder is on PYTHONPATH. It does nothing until what
writes blocks is imported, and kills nothing where no point is armed: see
`tests/chaos/failpoint.py`, which arms them.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # what only types need would slow the start of every Python
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_SIGKILL = 9
_POLL_S = 0.05
_HELD_S = 600.0
_LATEST_MS = 20
"""How long a scorer may live on after it has given its receipt to Ray."""
_ARMED = os.environ.get("MEDSENT_CHAOS_ARMED", "")


class _WhenImported:
    """Finds the modules to be patched as ever, and patches them once they are loaded."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, _: Any = None) -> ModuleSpec | None:
        patch = _PATCHES.get(name)
        if patch is None:
            return None
        spec = PathFinder.find_spec(name, path)
        loader: Any = spec and spec.loader
        if loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            patch(module)

        loader.exec_module = exec_module
        return spec


def _patch_storage(module: Any) -> None:
    """Put a point, and one to hold at, between a block's file aside and its move."""
    write = module.written_aside

    def written_aside(target: Any, data: bytes, mode: int | None = None) -> Any:
        aside = write(target, data, mode)
        if target.parent.name == "predictions":
            if _fires("between"):
                _die()
            if _fires("orphan"):
                _leave_an_orphan(aside, target, data)
        return aside

    module.written_aside = written_aside


def _patch_blocks(module: Any) -> None:
    """Put points before a block is written, after its file is moved in, and after its part went."""
    write_whole, write = module.write_whole, module.BlockWriter.write

    def moved(target: Any, data: Any) -> Any:
        made = write_whole(target, data)
        if _fires("after_move"):
            _die()
        return made

    def written(self: Any, name: str, rows: Any, *, whole: bool, has_part: bool) -> None:
        if _fires("before_write"):
            _die()
        write(self, name, rows, whole=whole, has_part=has_part)
        if has_part and whole and _fires("part_gone"):
            _die()

    module.write_whole, module.BlockWriter.write = moved, written


def _patch_scorer(module: Any) -> None:
    """Put a point at the end of a block's scoring: the monitor knows, and Ray is about to."""
    receipt = module._receipt

    def given(written: Any) -> Any:
        made = receipt(written)
        if written and _fires("receipt_lost"):
            _die_soon()
        return made

    module._receipt = given


_PATCHES = {
    "medsent.storage.paths": _patch_storage,
    "medsent.runs.blocks": _patch_blocks,
    "medsent.scoring.scorer": _patch_scorer,
}


def _fires(point: str) -> bool:
    """Count one pass of a point down, where it is armed; tell whether it was the last one.

    `<point>.3` becomes `<point>.2`: a file is renamed by one process alone, so a point that
    many processes pass fires exactly once.
    """
    for name in os.listdir(_ARMED):  # noqa: PTH208
        armed, _, left = name.partition(".")
        if armed != point or not left.isdigit():
            continue
        state = f"{int(left) - 1}" if int(left) > 1 else f"fired-{os.getpid()}"
        try:
            os.rename(f"{_ARMED}/{name}", f"{_ARMED}/{point}.{state}")  # noqa: PTH104
        except FileNotFoundError:
            continue
        if int(left) <= 1:
            return True
    return False


def _die() -> None:
    os.kill(os.getpid(), _SIGKILL)


def _die_soon() -> None:
    """Die while Ray passes the receipt on, or just after it has."""
    import random
    import threading

    threading.Timer(random.uniform(0, _LATEST_MS) / 1000, _die).start()


def _leave_an_orphan(aside: Any, target: Any, data: bytes) -> None:
    """Hold this scorer, and leave a process beside it that Ray does not know, and cannot end.

    So does a scorer go on whose node the cluster has lost sight of. Once it is let go, it
    moves the file in that it wrote; where another driver has tidied that away, it writes it
    anew, as one does that was held a moment earlier.
    """
    if (child := os.fork()) == 0:
        if os.fork():  # Ray's workers end their own children with themselves
            os._exit(0)
        os.setsid()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # Ray would take this for the scorer
        _tell("held", str(target))
        if _let_go():
            try:
                aside.replace(target)
            except FileNotFoundError:
                aside.write_bytes(data)
                aside.replace(target)
            _tell("moved", str(target))
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(_HELD_S)


def _let_go() -> bool:
    until = time.monotonic() + _HELD_S
    while time.monotonic() < until and os.path.isdir(_ARMED):  # noqa: PTH112
        if os.path.exists(f"{_ARMED}/let.go"):  # noqa: PTH110
            return True
        time.sleep(_POLL_S)
    return False


def _tell(what: str, text: str) -> None:
    """Leave a word for the campaign, whole or not at all."""
    with open(f"{_ARMED}/writing.{what}", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    os.rename(f"{_ARMED}/writing.{what}", f"{_ARMED}/told.{what}")  # noqa: PTH104


if _ARMED:
    sys.meta_path.insert(0, _WhenImported)  # type: ignore[arg-type]
