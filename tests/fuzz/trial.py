"""One drawn job through `check` and `evaluate`, and what there is to say against it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow.parquet as pq

from medsent.config.personas import load_personas
from medsent.predictions import Reason
from tests.conftest import command
from tests.fuzz.columns import MARK
from tests.fuzz.drawn import Drawn
from tests.fuzz.inputs import Written, write_job

_READY = "Ready: "
_UNFORESEEN = "an unforeseen error"
_PLANNED = (0, 1, 2)


@dataclass(frozen=True)
class Trial:
    """How a job went."""

    drawn: Drawn
    ready: bool
    code: int
    last_line: str
    faults: tuple[str, ...]


def attempt(drawn: Drawn, folder: Path, model: Path) -> Trial:
    """Give both commands the job, and look at what they said and left."""
    job = write_job(drawn, folder, model)
    checked = command("check", str(job.config))
    ended = command("evaluate", str(job.config))
    ready = any(line.startswith(_READY) for line in checked.stdout.splitlines())
    said = (ended.stderr.splitlines() or ended.stdout.splitlines() or [""])[-1]
    faults = [
        *(f"check: {fault}" for fault in _of_command(checked)),
        *(f"evaluate: {fault}" for fault in _of_command(ended)),
        *_of_both(checked, ready, ended),
        *_of_run(job, drawn, ended),
    ]
    return Trial(drawn, ready, ended.returncode, said, tuple(faults))


def _of_command(ended: CompletedProcess[str]) -> Iterator[str]:
    told = ended.stdout + ended.stderr
    if "Traceback" in told:
        yield "a traceback"
    if _UNFORESEEN in told:
        yield next(line for line in told.splitlines() if _UNFORESEEN in line)
    if MARK in told:
        yield "quotes an opinion"
    if ended.returncode not in _PLANNED:
        yield f"exit code {ended.returncode}"
    if ended.returncode and not ended.stderr.splitlines()[-1:][0].startswith("medsent: "):
        yield "its last line is not medsent's"


def _of_both(
    checked: CompletedProcess[str], ready: bool, ended: CompletedProcess[str]
) -> Iterator[str]:
    if ready != (checked.returncode == 0):
        yield f"check: Ready is {ready} and the exit code {checked.returncode}"
    if ready and ended.returncode:
        yield f"Ready, then exit code {ended.returncode}"
    if not ready and not ended.returncode:
        yield "refused by check, then scored"


def _of_run(job: Written, drawn: Drawn, ended: CompletedProcess[str]) -> Iterator[str]:
    if ended.returncode:
        return
    [run] = job.output.iterdir()
    table = pq.read_table(run / "predictions")
    counted = json.loads((run / "manifest.json").read_text())["records"]
    if counted["input"] != counted["scored"] + counted["quarantined"]:
        yield f"the manifest does not add up: {counted}"
    left_out = counted["by_reason"].get(Reason.BAD_SHARD, 0)  # these have no rows of their own
    if counted["input"] != table.num_rows + left_out:
        yield f"{table.num_rows} rows, where the manifest has {counted['input']} less {left_out}"
    keys = table.group_by(["row_hash", "persona"]).aggregate([])
    if keys.num_rows != table.num_rows:
        yield "a row twice"
    readers = len(load_personas(None)) if drawn.fan_out == "personas" else 1
    if job.rows is not None and counted["input"] != job.rows * readers:
        yield f"{counted['input']} records, where the shards have {job.rows} times {readers}"
    for file in sorted(run.rglob("*")):
        if file.is_file() and MARK.encode() in file.read_bytes():
            yield f"{file.name} quotes an opinion"
