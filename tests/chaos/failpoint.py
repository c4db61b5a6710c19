"""Arming the points at which a worker of Ray kills itself; `failpoints/sitecustomize.py` fires."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "failpoints"
"""To be on the job's PYTHONPATH."""

VARIABLE = "MEDSENT_CHAOS_ARMED"
"""Names the folder of armed points in the job's environment."""


class Failpoints:
    """A folder with a file for each armed point: `<point>.<passes left>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """What a job's processes need to pass the points."""
        before = os.environ.get("PYTHONPATH")
        path = f"{FOLDER}{os.pathsep}{before}" if before else str(FOLDER)
        return {VARIABLE: str(self._folder), "PYTHONPATH": path}

    def arm(self, point: str, passes: int) -> None:
        """Kill, or hold, the process that passes `point` as the n-th one from now on."""
        (self._folder / f"{point}.{passes}").touch()

    def fired(self, point: str) -> bool:
        """Tell whether an armed point has done so."""
        return any(self._folder.glob(f"{point}.fired-*"))

    def held(self) -> Path | None:
        """Return the block's file that an orphan is about to move in, None where none is."""
        told = self._folder / "told.held"
        return Path(told.read_text(encoding="utf-8")) if told.exists() else None

    def let_go(self) -> None:
        """Let the orphan go on."""
        (self._folder / "let.go").touch()

    def moved(self) -> bool:
        """Tell whether the orphan has moved its file in."""
        return (self._folder / "told.moved").exists()

    def clear(self) -> None:
        """Disarm every point and forget those that fired."""
        for file in self._folder.iterdir():
            file.unlink(missing_ok=True)  # it may be renamed meanwhile, to be found next time
