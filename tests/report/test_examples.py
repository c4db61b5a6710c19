"""Opinions quoted in a report: the right ones, as text, and only where somebody asks."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.commands.evaluate import rewrite_report
from medsent.config.job import JobConfig
from medsent.config.labels import LABELS
from medsent.errors import InputError
from medsent.input.shard import Shard
from medsent.reducer.state import Scope
from medsent.report.examples import examples
from medsent.report.write import write_report
from medsent.runs.folder import RunFolder
from tests.commands.test_compare import write_run
from tests.conftest import MARKER, SCRIPT, Finished
from tests.predicted import Answers, batch
from tests.written import write_manifest

ROWS = 6
GOLD = np.zeros((ROWS, 21), dtype=np.int8)
GOLD[:, 0] = 1
OLD, NEW = GOLD.copy(), GOLD.copy()
OLD[1, :4], OLD[2, :3] = [0, 1, 1, 1], [0, 1, 1]  # 4 and 3 wrong
NEW[4, :2], NEW[5, 1] = [0, 1], 1  # 2 and 1 wrong
TEXTS = [f"{SCRIPT} opinion {i}\nof | many" for i in range(ROWS)]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    shards = tmp_path / "shards"
    shards.mkdir()
    personas = ["surgeon", "emergency_nurse"] * 3
    names = [str(i) for i in range(ROWS)]
    opinions = [str(i // 2) for i in range(ROWS)]
    columns = {
        "record_id": names,
        "opinion_id": opinions,
        "text": TEXTS,
        "language": ["en"] * ROWS,
        "persona": personas,
    }
    pq.write_table(pa.table(columns), shards / "a.parquet")
    folder = write_run(
        tmp_path / "run-0", {"old": OLD, "new": NEW}, gold=GOLD, input={"path": str(shards)}
    )
    kept = {name: columns[name] for name in ("record_id", "opinion_id", "language", "persona")}
    kept["path"] = [str(shards / "a.parquet")] * ROWS
    rows = batch(GOLD, {"old": Answers(OLD), "new": Answers(NEW)}, kept)
    pq.write_table(pa.Table.from_batches([rows]), folder / "predictions" / "a.parquet")
    return RunFolder(folder)


PAIR = ("old", "new")


def quoted(run: RunFolder, count: int, *compared: tuple[str, str]) -> list[list[tuple[str, str]]]:
    tables = examples(run, run.config(), Scope.of(PAIR, LABELS), compared, count)
    return [[(row[0].text, row[-1].text) for row in table.rows] for table in tables]


def test_most_gained_and_most_lost_come_first(run: RunFolder) -> None:
    gained, lost = quoted(run, 2, PAIR)
    assert gained == [("1", TEXTS[1]), ("2", TEXTS[2])]
    assert lost == [("4", TEXTS[4]), ("5", TEXTS[5])]
    assert quoted(run, 1, PAIR) == [[("1", TEXTS[1])], [("4", TEXTS[4])]]


def test_without_a_comparison_the_most_wrong_are_quoted(run: RunFolder) -> None:
    assert quoted(run, 1) == [[("1", TEXTS[1])], [("4", TEXTS[4])]]


def test_a_price_compares_no_pair_that_nobody_asked_for(run: RunFolder) -> None:
    values = run.config().model_dump(mode="json") | {"price": {"per_replica_hour": 1.0}}
    config = JobConfig.model_validate(values)
    write_manifest(run, ROWS)
    report = write_report(run, config, run.complete(), 1)
    told = report.with_suffix(".md").read_text()
    assert "Records that old is most wrong about" in told
    assert "gains most over" not in told


def test_labels_stand_beside_the_opinion(run: RunFolder) -> None:
    row = examples(run, run.config(), Scope.of(PAIR, LABELS), [PAIR], 1)[0].rows[0]
    assert [cell.text for cell in row[:-1]] == [
        "1",
        "emergency_nurse",
        LABELS[0],
        ", ".join(LABELS[1:4]),
        LABELS[0],
    ]


def test_a_record_that_several_rows_could_be_is_not_quoted(run: RunFolder) -> None:
    file = run.path.parent / "shards" / "a.parquet"
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table, table.slice(1, 1)]), file)
    gained, _ = quoted(run, 1, PAIR)
    assert gained == [("1", "(several records have this id and persona)")]


def test_a_shard_that_was_rewritten_is_not_quoted(run: RunFolder) -> None:
    file = run.path.parent / "shards" / "a.parquet"
    write_manifest(run, ROWS, input=(Shard(str(file), 1, "0", ROWS),))
    with pytest.raises(InputError, match=r"a\.parquet: rewritten since it was scored"):
        quoted(run, 1, PAIR)


@pytest.mark.ray
def test_a_report_quotes_only_where_asked_and_only_as_text(finished: Finished) -> None:
    plain = rewrite_report(finished.folder)
    report = rewrite_report(finished.folder, 3)
    written = (report, report.with_suffix(".md"))
    try:
        html, markdown = (file.read_text() for file in written)
        assert MARKER in html
        assert MARKER in markdown
        assert SCRIPT not in html + markdown
        assert "<end_of_turn>" not in html + markdown
        for other in (plain, plain.with_suffix(".md"), plain.with_name("metrics.json")):
            assert MARKER not in other.read_text()
    finally:
        for file in written:
            file.unlink()
