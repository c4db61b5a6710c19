"""The folder of a plan's run: found, or made."""

import tempfile
from pathlib import Path

from medsent.errors import ConfigError, storage_failure
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import Plan
from medsent.storage.paths import any_path


def run_of(plan: Plan) -> RunFolder:
    """Return the folder of a plan's run, whether it is there or not; an earlier version's if so."""
    output = any_path(plan.config.output.path).resolve()
    run = RunFolder(output / f"{plan.config.name}-{plan.fingerprint}")
    former = RunFolder(output / f"{plan.config.name}-{plan.former_fingerprint}")
    return former if former != run and former.path.exists() and not run.path.exists() else run


def try_output(plan: Plan) -> None:
    """Raise what `open_run` would for an output that cannot be written to; leave nothing there."""
    path = run_of(plan).path
    if not isinstance(path, Path):
        probe = RunFolder(path.parent / ".medsent-check")
        try:
            probe.write(".writable", "").unlink()
        except OSError as error:
            raise storage_failure(error, path.parent) from error
        return
    there = next(each for each in (path, *path.parents) if each.exists() or each.is_symlink())
    if not there.is_dir():
        raise ConfigError(f"output.path: {there} is no folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise storage_failure(error, there) from error


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
