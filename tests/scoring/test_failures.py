"""What a job ends with: the actor's own words, or what its cause shows, and no library's text."""

import errno
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from medsent.errors import (
    AdapterError,
    EngineDiedError,
    EngineError,
    MedsentError,
    ReadingError,
    RunError,
    StorageError,
    reason,
)
from medsent.runs.folder import RunFolder
from medsent.scoring.failures import failure
from medsent.scoring.monitor import Status
from medsent.storage.paths import any_path
from tests.conftest import MARKER

RUN = RunFolder(Path("/runs/nightly-0123456789ab"))


def caused(*causes: Exception) -> Exception:
    """Return what Ray raises when the last of the causes happened inside a task."""
    outer: Exception = RuntimeError(f"{MARKER} a library's text")
    inner = outer
    for cause in causes:
        inner.__cause__ = cause
        inner = cause
    return outer


def test_what_an_actor_told_comes_first() -> None:
    status = Status(
        failure=("AdapterError", "variants.a.adapter changes nothing"),
        start_failure=("EngineError", "something else"),
    )
    made = failure(caused(OSError(errno.ENOSPC, "full")), status, RUN)
    assert type(made) is AdapterError
    assert str(made) == "variants.a.adapter changes nothing"


def test_an_error_of_ours_among_the_causes_is_the_one() -> None:
    ours = ReadingError("/in/a.parquet: a row could not be read as a record")
    made = failure(caused(ValueError(MARKER), ours, KeyError(MARKER)), Status(), RUN)
    assert type(made) is ReadingError
    assert str(made) == str(ours)


def test_a_tasks_error_is_found_where_ray_keeps_it() -> None:
    task = ray.exceptions.RayTaskError("f", f"Traceback {MARKER}", RunError("a is damaged"))
    assert str(failure(caused(task), Status(), RUN)) == "a is damaged"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "input/output error"),
    ],
)
def test_a_disk_that_takes_nothing_is_said(number: int, says: str) -> None:
    made = failure(caused(OSError(number, f"{RUN.path}/x {MARKER}")), Status(), RUN)
    assert type(made) is StorageError
    assert made.exit_code == 1
    assert str(made).startswith(f"cannot write to {RUN.path}: {says}. Nothing there is damaged;")
    assert str(made).endswith("the same command goes on from there")


@pytest.mark.parametrize(
    "cause",
    [OSError(MARKER), OSError(errno.EACCES, f"/in/a.parquet {MARKER}"), pa.ArrowInvalid(MARKER)],
)
def test_a_page_that_cannot_be_read_is_a_reading_error(cause: Exception) -> None:
    assert type(failure(caused(cause), Status(), RUN)) is ReadingError


NETWORK = "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7"


@pytest.mark.parametrize("asked", ["key 'runs/nightly-0/predictions/a.parquet' in", "existence of"])
def test_object_storage_that_takes_nothing_is_said(asked: str) -> None:
    run = RunFolder(any_path("s3://bucket/runs/nightly-0"))
    made = failure(caused(OSError(f"When {asked} bucket 'bucket': {NETWORK}")), Status(), run)
    assert type(made) is StorageError
    assert str(made).startswith(
        "cannot write to s3://bucket/runs/nightly-0: the server cannot be reached "
        "(NETWORK_CONNECTION). Nothing there is damaged; check AWS_ENDPOINT_URL and the network"
    )


def test_a_bucket_of_another_region_is_told() -> None:
    error = OSError(
        "When reading key 'a' in bucket 'b': AWS Error UNKNOWN (HTTP status 301) during"
    )
    assert reason(error) == (
        "the bucket is in another region (HTTP status 301)",
        "set AWS_REGION to it",
    )


@pytest.mark.parametrize("run", [RUN, RunFolder(any_path("s3://bucket/runs/nightly-0"))])
def test_object_storage_that_gives_nothing_quarantines_no_shard(run: RunFolder) -> None:
    cause = OSError(f"When reading information for key 'in/a.parquet' in bucket 'b': {NETWORK}")
    made = failure(caused(cause), Status(), run)
    assert type(made) is StorageError
    assert str(made).startswith("cannot read in/a.parquet: the server cannot be reached")


@pytest.mark.parametrize("cause", [TimeoutError(MARKER), ConnectionRefusedError(MARKER)])
def test_a_network_that_fails_quarantines_no_shard(cause: Exception) -> None:
    assert type(failure(caused(cause), Status(), RUN)) is EngineError


def test_a_scorer_that_did_not_start_says_why() -> None:
    status = Status(start_failure=("EngineDiedError", "vLLM did not start: no memory"))
    made = failure(caused(ValueError(MARKER)), status, RUN)
    assert type(made) is EngineDiedError
    assert str(made) == "vLLM did not start: no memory"


def test_anything_else_is_told_by_its_kind_only() -> None:
    made = failure(caused(KeyError(MARKER)), Status(), RUN)
    assert type(made) is EngineError
    assert "KeyError" in str(made)
    assert "the same command goes on from there" in str(made)


@pytest.mark.parametrize(
    "error",
    [
        caused(OSError(MARKER)),
        caused(OSError(errno.ENOSPC, MARKER)),
        caused(pa.ArrowInvalid(MARKER)),
        caused(KeyError(MARKER)),
        caused(),
    ],
)
def test_a_librarys_text_is_never_quoted(error: Exception) -> None:
    made: MedsentError = failure(error, Status(), RUN)
    assert MARKER not in str(made)


def test_causes_in_a_circle_end() -> None:
    one, other = ValueError("a"), KeyError("b")
    one.__cause__, other.__context__ = other, one
    assert type(failure(one, Status(), RUN)) is EngineError
