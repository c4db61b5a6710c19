"""Columns are settled by the first shard, or by most of them where one may be left out."""

import pyarrow as pa
import pytest

from medsent.columns import Settled, check_names, settle
from medsent.config import InputSettings
from medsent.errors import InputError

TEXT = {name: pa.string() for name in ("record_id", "text", "language", "persona")}


PAIR = ("ból", "ulga")
"""The labels of the job."""


def settled(
    *schemas: dict[str, pa.DataType], policy: str = "quarantine", **more: object
) -> Settled:
    """Settle the columns of shards "0", "1" and so on."""
    settings = InputSettings.model_validate({"path": "in", "on_bad_shard": policy, **more})
    named = {str(i): pa.schema(list(each.items())) for i, each in enumerate(schemas)}
    return settle(settings, named, PAIR)


def without(name: str) -> dict[str, pa.DataType]:
    return {other: kind for other, kind in TEXT.items() if other != name}


def test_a_first_shard_that_lacks_a_column_condemns_only_itself() -> None:
    for policy in ("fail", "quarantine"):
        made = settled(without("persona"), TEXT, TEXT, policy=policy)
        assert made.columns == {name: name for name in TEXT}
        assert list(made.misfits) == ["0"]
        assert made.misfits["0"].startswith("0: no column 'persona'")


def test_most_shards_decide_on_a_type_where_one_may_be_left_out() -> None:
    odd = {**TEXT, "record_id": pa.int64()}
    made = settled(odd, TEXT, TEXT)
    assert list(made.misfits) == ["0"]
    assert made.misfits["0"] == (
        "0: column 'record_id' is int64, but string in 1; all shards must have it in one type"
    )
    assert made.types.field("record_id").type == pa.string()
    assert list(settled(odd, TEXT, TEXT, policy="fail").misfits) == ["1", "2"]


def test_the_earliest_decides_where_as_many_are_alike() -> None:
    assert list(settled(TEXT, {**TEXT, "record_id": pa.int64()}).misfits) == ["1"]


def test_types_that_one_type_holds_count_together() -> None:
    ids = [pa.string(), pa.int8(), pa.int64(), pa.int32()]
    made = settled(*({**TEXT, "record_id": kind} for kind in ids))
    assert list(made.misfits) == ["0"]
    assert made.types.field("record_id").type == pa.int64()


def test_most_shards_decide_on_a_column_that_may_be_missing() -> None:
    dated = {**TEXT, "date": pa.date32()}
    made = settled(TEXT, dated, dated)
    assert made.columns["date"] == "date"
    assert made.misfits == {"0": made.misfits["0"]}
    assert "no column 'date'" in made.misfits["0"]
    plain = settled(TEXT, TEXT, dated)
    assert "date" not in plain.columns
    assert plain.misfits == {}


def test_what_is_kept_must_be_in_each() -> None:
    extra = {**TEXT, "clinic": pa.string()}
    made = settled(TEXT, extra, {**TEXT, "clinic": pa.int8()}, keep=["clinic"])
    assert list(made.misfits) == ["0", "2"]
    assert made.misfits["0"] == "0: no column 'clinic', which input.keep names"
    assert made.types.field("clinic").type == pa.string()


def test_where_no_shard_fits_there_are_no_columns() -> None:
    made = settled(without("text"), without("persona"))
    assert (made.columns, made.types) == ({}, pa.schema([]))
    assert list(made.misfits) == ["0", "1"]
    assert settled() == Settled()


def test_a_column_that_is_there_twice_is_refused() -> None:
    settings = InputSettings(path="in")
    twice = pa.schema([*TEXT.items(), ("text", pa.string())])
    assert settle(settings, {"a": twice}, PAIR).misfits == {
        "a": "a: there are two columns 'text'; rename one"
    }
    unread = pa.schema([*TEXT.items(), ("x", pa.string()), ("x", pa.string())])
    assert settle(settings, {"a": unread}, PAIR).misfits == {}


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"txt": "text"}, "'txt' is not a column of ours"),
        ({"anger": "a"}, "'anger' is not a column of ours .* and no label"),
        ({"record_id": None}, "input.columns.record_id cannot be null"),
    ],
)
def test_names_are_checked_before_any_shard_is(columns: dict[str, str | None], told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_names(InputSettings(path="in", columns=columns), PAIR)


def test_a_label_of_the_job_may_stand_in_a_column_of_another_name() -> None:
    check_names(InputSettings(path="in", columns={"ulga": "relief"}), PAIR)
    wide = {**TEXT, "ból": pa.int8(), "relief": pa.bool_()}
    made = settled(wide, columns={"ulga": "relief"})
    assert made.columns == {name: name for name in (*TEXT, "ból")} | {"ulga": "relief"}
    lacking = settled(TEXT, columns={"ulga": "relief"})
    assert "no column 'relief'" in lacking.misfits["0"]
    wrong = settled(wide | {"relief": pa.string()}, columns={"ulga": "relief"})
    assert wrong.misfits["0"] == (
        "0: column 'relief' (input.columns.ulga) is string; it must be integers; to go without, "
        "set input.columns.ulga to null"
    )


def test_columns_of_some_labels_alone_are_no_gold() -> None:
    assert "ból" not in settled({**TEXT, "ból": pa.int8()}).columns


def test_gold_in_one_column_is_of_every_label_of_the_job() -> None:
    votes = {name: pa.int8() for name in ("ulga", "ból", "anger")}
    made = settled({**TEXT, "labels": pa.struct(list(votes.items()))})
    assert made.misfits == {}
    del votes["ból"]
    made = settled({**TEXT, "labels": pa.struct(list(votes.items()))})
    assert "a struct of the 2 labels" in made.misfits["0"]
