"""Arming the points at which a worker of Ray kills itself; `failpoints/sitecustomize.py` fires."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "failpoints"
"""To be on the job's PYTHONPATH."""

VARIABLE = "MEDSENT_CHAOS_ARMED"
"""Names the folder of armed points in the job's environment."""


class Failpoints:
    """A folder with a file for each armed point: `<point>.<passes left>.<serial>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """What a job's processes need to pass the points."""
        before = os.environ.get("PYTHONPATH")
        path = f"{FOLDER}{os.pathsep}{before}" if before else str(FOLDER)
        return {VARIABLE: str(self._folder), "PYTHONPATH": path}

    def arm(self, point: str, passes: int, times: int = 1) -> None:
        """Kill the process that passes `point` as the n-th one from now on, so many times."""
        for serial in range(times):
            (self._folder / f"{point}.{passes}.{serial}").touch()

    def fired(self, point: str) -> bool:
        """Tell whether an armed point has killed."""
        return any(self._folder.glob(f"{point}.fired-*"))

    def clear(self) -> None:
        """Disarm every point and forget those that fired."""
        for file in self._folder.iterdir():
            file.unlink(missing_ok=True)  # it may be renamed meanwhile, to be found next time
