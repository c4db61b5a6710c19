"""What `medsent erase` says of ids and of other runs, and where it lists what is erased."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsent.commands.erase import erase
from medsent.commands.evaluate import held
from medsent.errors import RunError
from medsent.runs.blocks import BlockWriter
from medsent.runs.erased import list_erased, listed_in, opinion_hash
from medsent.runs.folder import RunFolder
from tests.commands.test_drift import write_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of opinions "0" to "199" that is not complete."""
    return write_run(tmp_path / "runs" / "my-0", seed=1)


def test_what_a_job_blanks_before_it_writes_is_no_typing_error(run: RunFolder) -> None:
    file = run.predictions / "1.parquet"
    rows = pq.ParquetFile(file).read()
    name = rows["opinion_id"][-1].as_py()
    file.unlink()
    with held(run):
        with pytest.raises(RunError, match="1 of 1 runs"):
            erase([run.path], {name: "line 1", "typo": "line 2"})
        BlockWriter(run).write("ab-000001", rows, whole=True, has_part=False)
    with pytest.raises(RunError, match=r"1 of 2 opinions were found .* these ids: line 2\."):
        erase([run.path], {name: "line 1", "typo": "line 2"})
    assert erase([run.path], {name: "line 1"}) == "Erased 0 records of 1 opinions in 1 runs"


def test_nor_is_what_an_earlier_version_erased(run: RunFolder) -> None:
    told = {"opinions": [opinion_hash("gone")], "pending": False}
    run.write("erased.json", json.dumps(told))
    assert erase([run.path], {"gone": "line 1"}).startswith("Erased 0 records of 1 opinions")
    with pytest.raises(RunError, match="0 of 1 opinions"):
        erase([run.path], {"typo": "line 1"})


def test_a_damaged_list_of_another_run_hides_no_result(
    run: RunFolder, tmp_path: Path, said: list[str]
) -> None:
    bad = write_run(tmp_path / "runs" / "bad-0", seed=2)
    bad.write("erased.json", "{}")
    with held(run), pytest.raises(RunError, match=r"1 of 1 runs .* held by another job"):
        erase([run.path], {"7": "line 1"})
    assert erase([run.path], {"7": "line 1"}) == "Erased 4 records of 1 opinions in 1 runs"
    told = [line for line in said if line.startswith("Not looked into: ")]
    assert [line.split(", in ")[0] for line in told] == ["Not looked into: bad-0"] * 2


def test_a_link_to_a_run_lists_on_both_sides(run: RunFolder, tmp_path: Path) -> None:
    output = tmp_path / "other" / "runs"
    output.mkdir(parents=True)
    (output / "my-0").symlink_to(tmp_path / "runs" / "my-0")
    erase([output / "my-0"], {"7": "line 1"})
    for each in (output, run.path.parent):
        assert listed_in(each) == {opinion_hash("7")}


def test_what_is_listed_already_is_found_where_it_stood(run: RunFolder) -> None:
    list_erased(run.path.parent, ["7"])
    assert erase([run.path], {"7": "line 1"}) == "Erased 4 records of 1 opinions in 1 runs"
    assert erase([run.path], {"7": "line 1"}) == "Erased 0 records of 1 opinions in 1 runs"
