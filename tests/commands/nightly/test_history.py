"""The history of nights, what is kept of them, and what a night looks back to."""

import json
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medsent.commands.nightly.gate import Gate, Ruling
from medsent.commands.nightly.history import NIGHTS, History, Night, last_good
from medsent.commands.nightly.index import index_page
from medsent.commands.nightly.page import night_page
from medsent.commands.nightly.retention import retain
from medsent.config.price import PriceSettings
from medsent.errors import RunError
from medsent.report.html import render_html
from medsent.runs.folder import QUOTING, RunFolder
from medsent.runs.log import Dropped
from tests.commands.nightly.evidence import NIGHT, VARIANT
from tests.report.sample import metrics

FIRST = date(2026, 11, 1)


def gate(day: int, closed: bool = False, run: str | None = None) -> Gate:
    night = FIRST + timedelta(days=day)
    ruling = Ruling(
        rule="labels", status="closes" if closed else "holds", variant=VARIANT, subject="anger",
        against="reference", value=-0.1, low=-0.2, high=-0.05, limit=-0.02, message="anger fell",
    )  # fmt: skip
    return Gate(
        name="nightly", night=night, run=run or f"nightly-{night}-0", reference=None,
        status="closed" if closed else "open", last_good=None, rules=[ruling],
    )  # fmt: skip


def row(day: int, closed: bool = False, run: str | None = None) -> Night:
    return Night.of(gate(day, closed, run), NIGHT)


@pytest.fixture
def history(tmp_path: Path) -> History:
    found = History(tmp_path, "nightly")
    found.folder.path.mkdir()
    return found


def test_nights_are_rows_that_sql_reads(history: History) -> None:
    assert history.read() == []
    history.add(row(1, closed=True))
    nights = history.add(row(0))
    assert [night.night for night in nights] == [FIRST, FIRST + timedelta(days=1)]
    assert history.read() == nights
    table = pq.read_table(history.folder.path / NIGHTS)
    assert table["status"].to_pylist() == ["open", "closed"]
    [ruling] = table["rules"][1].as_py()
    assert (ruling["rule"], ruling["value"], ruling["limit"], ruling["low"]) == (
        "labels", -0.1, -0.02, -0.2,
    )  # fmt: skip
    figures = {(f["variant"], f["label"], f["figure"]): f for f in table["figures"][0].as_py()}
    f1 = NIGHT.variants[VARIANT].labels["anger"].f1
    assert f1 is not None
    assert figures[VARIANT, "anger", "f1"]["value"] == f1.value
    assert figures[VARIANT, "anger", "f1"]["low"] == f1.low
    macro = nights[0].figure(VARIANT, "macro_f1")
    assert macro is not None
    assert NIGHT.variants[VARIANT].overall.macro_f1 is not None
    assert macro.value == NIGHT.variants[VARIANT].overall.macro_f1.value


def test_a_night_with_a_price_tells_what_it_cost() -> None:
    priced = metrics(price=PriceSettings(per_replica_hour=2.5))
    night, cost = Night.of(gate(0), priced), priced.variants[VARIANT].cost
    assert cost is not None
    told = night.figure(VARIANT, "money_per_million_records")
    assert told is not None
    assert (told.value, told.low) == (
        cost.money_per_million_records.value,
        cost.money_per_million_records.low,
    )
    figures = {each.name: each.value for each in night_page(gate(0), priced, "i").key_figures}
    assert figures["Cost of a million records"].endswith(" USD")
    assert row(0).figure(VARIANT, "money_per_million_records") is None


def test_the_same_night_again_takes_its_place(history: History) -> None:
    for again in (row(0), row(1), row(0, closed=True)):
        nights = history.add(again)
    assert [night.status for night in nights] == ["closed", "open"]
    assert not list(history.folder.path.glob(".*"))


def test_a_damaged_history_is_not_written_over(history: History) -> None:
    file = history.folder.path / NIGHTS
    file.write_bytes(b"no Parquet")
    with pytest.raises(RunError, match=r"nights\.parquet is damaged"):
        history.add(row(0))
    assert file.read_bytes() == b"no Parquet"


def test_the_last_good_night_lies_before(history: History) -> None:
    nights = [row(0), row(1), row(2, closed=True), row(3)]
    found = last_good(nights, FIRST + timedelta(days=3))
    assert found == nights[1]
    assert last_good(nights, FIRST) is None


def scored(history: History, night: Night) -> RunFolder:
    """Write a run that holds predictions and a report."""
    run = history.run(night)
    for folder in (run.predictions, run.checkpoint):  # the other of a version of before
        folder.mkdir(parents=True)
        (folder / "a.parquet").write_bytes(b"")
    run.write("night.html", "")
    run.write("config.yaml", f"name: {history.name}-{night.night}\nnight: '{night.night}'\n")
    return run


def test_old_predictions_go_but_not_what_is_compared_with(history: History) -> None:
    closed = {3, 6, 7, 8, 9}
    nights = [row(day, day in closed) for day in range(10)]
    runs = [scored(history, night) for night in nights]
    for run, name in product(runs, QUOTING):
        run.write(name, "an opinion that was quoted")
    reference = runs[1]
    removed = retain(history, nights, 2, reference)
    # Kept: the reference, the last good night (5), and the last two.
    assert removed == [nights[day].run for day in (0, 2, 3, 4, 6, 7)]
    assert [run.holds_predictions() for run in runs] == [day in (1, 5, 8, 9) for day in range(10)]
    assert all((run.path / "night.html").exists() for run in runs)
    assert not runs[0].checkpoint.exists()
    quoting = [any((run.path / name).exists() for name in QUOTING) for run in runs]
    assert quoting == [run.holds_predictions() for run in runs]
    assert runs[0].events(Dropped)
    assert retain(history, nights, 2, reference) == []


def test_a_good_night_keeps_what_it_was_judged_by(history: History) -> None:
    nights = [row(day, closed=day in (1, 2, 3)) for day in range(5)]
    told = {"last_good": nights[0].run, "reference": str(history.run(nights[1]).path)}
    nights[3:] = [night.model_copy(update=told) for night in nights[3:]]
    runs = [scored(history, night) for night in nights]
    # Not even where this call names no reference.
    assert retain(history, nights, 2, None) == [nights[2].run]
    assert [run.holds_predictions() for run in runs] == [True, True, False, True, True]


def test_nights_without_a_verdict_and_replaced_runs_go_too(history: History) -> None:
    nights = [row(day) for day in range(4)]
    failed = scored(history, row(0, run=f"nightly-{FIRST}-1"))
    last = scored(history, row(3, run=f"nightly-{FIRST + timedelta(days=3)}-1"))
    for night in nights:
        scored(history, night)
    assert failed.path.name in retain(history, nights, 2, None)
    assert not failed.holds_predictions()
    assert last.holds_predictions()


def test_a_failed_night_is_a_row_until_it_is_judged(history: History) -> None:
    told = "The night failed. No space is left"
    failure = Night.failed(FIRST + timedelta(days=1), told)
    history.add(row(0))
    nights = history.add(failure)
    assert history.read() == nights
    assert history.night(failure.night) == failure
    assert last_good(nights, FIRST + timedelta(days=2)) == nights[0]
    page = render_html(index_page("nightly", None, nights))
    assert "The night failed. No space is left" in page
    assert f"../{nights[0].run}/night.html" in page
    assert "..//" not in page
    assert [night.status for night in history.add(row(1))] == ["open", "open"]


def test_what_retention_does_not_know_it_does_not_touch(history: History, tmp_path: Path) -> None:
    nights = [row(day) for day in range(4)]
    for night in nights:
        scored(history, night)
    strangers = [
        scored(history, row(0, run=name))
        for name in ("evaluation-0", f"nightly-{FIRST}-recheck-0", f"nightly-{FIRST}-abc")
    ]
    # An evaluation that somebody named like a night.
    strangers[-1].write("config.yaml", f"name: nightly-{FIRST}\nnight: null\n")
    assert retain(history, nights, 2, None) == [night.run for night in nights[:2]]
    assert all(stranger.holds_predictions() for stranger in strangers)


def test_a_night_stays_where_a_backfill_or_a_file_says_so(history: History) -> None:
    nights = [row(day) for day in range(6)]
    runs = [scored(history, night) for night in nights]
    backfill = RunFolder(history.output / "backfill-0")
    backfill.path.mkdir()
    backfill.write("drift.json", json.dumps({"reference": str(runs[1].path)}))
    runs[2].write("keep", "")
    assert retain(history, nights, 2, None) == [nights[0].run, nights[3].run]
    assert [run.holds_predictions() for run in runs] == [False, True, True, False, True, True]


def test_of_nights_without_predictions_nothing_is_read(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = [row(day) for day in range(6)]
    for night in nights:
        scored(history, night)
    read, real = list[Path](), Path.read_text

    def reading(path: Path, **options: Any) -> str:
        read.append(path)
        return real(path, **options)

    monkeypatch.setattr(Path, "read_text", reading)
    assert len(retain(history, nights, 2, None)) == 4
    assert read
    read.clear()
    assert retain(history, nights, 2, None) == []
    assert read == []


def test_reasons_name_the_worst_and_the_others() -> None:
    found = gate(0, closed=True)
    [ruling] = found.rules
    worse = ruling.model_copy(update={"subject": "fear", "value": -0.3, "message": "fear fell"})
    slow = Ruling(rule="records_per_s", status="closes", value=1, limit=2, message="slow")
    held = ruling.model_copy(update={"subject": "calm", "status": "holds"})
    both = found.model_copy(update={"rules": [ruling, worse, held, slow]})
    assert both.reasons() == ["labels: fear fell (and anger)", "records_per_s: slow"]


def test_the_worst_is_the_farthest_beyond_its_limit_either_way() -> None:
    less, more = (
        Ruling(
            rule="label_rates", status="closes", subject=name, value=value, limit=0.05, message=name
        )
        for name, value in (("anger", -0.06), ("fear", 0.15))
    )
    found = gate(0, closed=True).model_copy(update={"rules": [less, more]})
    assert found.reasons() == ["label_rates: fear (and anger)"]
    assert gate(0).reasons() == []
