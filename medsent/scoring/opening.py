"""The folder of a plan's run: found, or made."""

import tempfile
from contextlib import suppress
from pathlib import Path

from medsent.errors import ConfigError, storage_failure
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import Plan
from medsent.storage.paths import ObjectPath, any_path, remove_folder


def run_of(plan: Plan) -> RunFolder:
    """Return the folder of a plan's run, whether it is there or not; an earlier version's if so."""
    output = any_path(plan.config.output.path).resolve()
    run = RunFolder(output / f"{plan.config.name}-{plan.fingerprint}")
    former = RunFolder(output / f"{plan.config.name}-{plan.former_fingerprint}")
    return former if former != run and former.path.exists() and not run.path.exists() else run


def try_output(plan: Plan) -> None:
    """Raise what `open_run` would for an output that cannot be written to; leave nothing there."""
    try:
        path = run_of(plan).path
        if isinstance(path, Path):
            _try_folder(path)
        else:
            _try_objects(path)
    except OSError as error:
        raise storage_failure(error, plan.config.output.path) from error


def _try_folder(path: Path) -> None:
    there = next(each for each in (path, *path.parents) if each.exists() or each.is_symlink())
    if not there.is_dir():
        raise ConfigError(f"output.path: {there} is no folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise storage_failure(error, there) from error


def _try_objects(path: ObjectPath) -> None:
    """Write where the run does: a key may have no right to anything beside it."""
    there = path.exists()
    RunFolder(path).write(".writable", "").unlink()
    if not there and not any(path.glob("*")):
        with suppress(OSError):  # an empty object of the folder's name is no harm
            remove_folder(path)


def open_run(plan: Plan) -> RunFolder:
    """Make or find the folder of a plan's run.

    Raises `ConfigError` where it cannot be a folder, `StorageError` where it cannot be written to.
    """
    run = run_of(plan)
    path = run.path
    try:
        path.mkdir(parents=True, exist_ok=True)
        run.write(".writable", "").unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"output.path: {error.filename} is no folder") from error
    except FileNotFoundError as error:
        raise ConfigError(f"output.path: {error.strerror}: {path}") from error
    except OSError as error:
        raise storage_failure(error, path) from error
    return run
