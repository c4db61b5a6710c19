"""Each shard's columns are settled by themselves; those that are kept are of one type in all."""

import pyarrow as pa
import pytest

from medsent.config.input import InputSettings
from medsent.errors import InputError
from medsent.input.columns import Settled, check_names, settle, unheld

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


def test_a_first_shard_that_lacks_a_column_quarantines_only_itself() -> None:
    for policy in ("fail", "quarantine"):
        made = settled(without("persona"), TEXT, TEXT, policy=policy)
        assert made.columns == {name: name for name in TEXT}
        assert list(made.misfits) == ["0"]
        assert made.misfits["0"].startswith("0: no column 'persona'")


def test_a_column_may_be_of_another_type_in_each_shard() -> None:
    ids = [pa.string(), pa.int8(), pa.uint64(), pa.uuid(), pa.decimal128(20, 0), pa.string_view()]
    assert settled(*({**TEXT, "record_id": kind} for kind in ids)).misfits == {}
    dates = [pa.date32(), pa.timestamp("s"), pa.timestamp("ns", "Europe/Warsaw"), pa.null()]
    assert settled(*({**TEXT, "date": kind} for kind in dates)).misfits == {}
    votes = pa.struct([(label, pa.bool_()) for label in PAIR])
    gold = [{"labels": votes}, {"labels": pa.list_(pa.string())}, dict.fromkeys(PAIR, pa.int8())]
    assert settled(*({**TEXT, **each} for each in gold)).misfits == {}


def test_an_optional_column_may_be_in_some_shards_alone() -> None:
    made = settled(TEXT, {**TEXT, "date": pa.date32()}, {**TEXT, "opinion_id": pa.int64()})
    assert made.misfits == {}
    assert {"date", "opinion_id"} < set(made.columns)
    made = settled(TEXT, {**TEXT, "date": pa.string()})
    assert list(made.misfits) == ["1"]
    assert "date" not in made.columns


def test_a_fraction_names_nothing() -> None:
    told = settled({**TEXT, "record_id": pa.decimal128(20, 2)}).misfits["0"]
    assert "is decimal128(20, 2); it must be a string or an integer, so cast it" in told


@pytest.mark.parametrize(
    ("one", "other", "held"),
    [
        (pa.int8(), pa.int32(), pa.int32()),
        (pa.int8(), pa.float64(), pa.float64()),
        (pa.int32(), pa.float32(), pa.float64()),
        (pa.uint32(), pa.int32(), pa.int64()),
        (pa.decimal128(20, 0), pa.int64(), pa.decimal128(20, 0)),
        (pa.string_view(), pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.null(), pa.list_(pa.string_view()), pa.list_(pa.string())),
        (pa.list_(pa.null()), pa.large_list(pa.uuid()), pa.list_(pa.string())),
        (
            pa.struct([("a", pa.int8())]),
            pa.struct([("b", pa.string()), ("a", pa.float64())]),
            pa.struct([("a", pa.float64()), ("b", pa.string())]),
        ),
        (
            pa.list_(pa.field("element", pa.int8(), nullable=False), 2),
            pa.list_view(pa.int8()),
            None,
        ),
    ],
    ids=str,
)
def test_a_kept_column_is_of_a_type_that_holds_it_in_all(
    one: pa.DataType, other: pa.DataType, held: pa.DataType | None
) -> None:
    for pair in ((one, other), (other, one)):
        made = settled(*({**TEXT, "extra": kind} for kind in pair), keep=["extra"])
        assert made.misfits == {}
        [field] = made.kept
        if pa.types.is_struct(field.type):  # in the order of the first
            assert {each.name: each.type for each in field.type} == {
                each.name: each.type for each in held or ()
            }
        else:
            assert field == pa.field("extra", held or pa.list_(pa.int8()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.float64()),
        (pa.int32(), pa.string()),
        (pa.uint64(), pa.int64()),
        (pa.decimal128(20, 0), pa.float64()),
        (pa.date32(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us"), pa.timestamp("ns")),
        (pa.list_(pa.int64()), pa.list_(pa.float64())),
        (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.float64())),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.float64()), ("b", pa.null())])),
    ],
    ids=str,
)
def test_what_no_type_holds_is_named_by_column_shard_and_types(
    one: pa.DataType, other: pa.DataType
) -> None:
    made = settled(*({**TEXT, "extra": kind} for kind in (one, one, other)), keep=["extra"])
    assert list(made.misfits) == ["2"]
    told = made.misfits["2"]
    assert told.startswith("2: column 'extra', which input.keep names, is ")
    assert " in others such as 0, and no type holds both; cast it to one type in all" in told
    for kind in (one, other):
        assert str(kind)[:12] in told


def test_most_shards_decide_on_the_type_of_a_kept_column() -> None:
    text, number = {**TEXT, "extra": pa.string()}, {**TEXT, "extra": pa.int8()}
    for shards, unfit in (((text, number, number), ["0"]), ((text, number), ["1"])):
        assert list(settled(*shards, keep=["extra"]).misfits) == unfit


def test_a_growing_run_holds_what_it_keeps_as_it_began() -> None:
    made = settled(
        *({**TEXT, "extra": kind} for kind in (pa.int8(), pa.int64(), pa.null())), keep=["extra"]
    )
    assert unheld([pa.field("extra", pa.int64())], made.kinds) == {}
    assert unheld([pa.field("extra", pa.int16())], made.kinds) == {
        "1": "1: column 'extra' is int64, and the run holds it as int16 since its first start; "
        "cast it in the shard, or begin a new run with another name"
    }


def test_what_is_kept_must_be_in_each() -> None:
    made = settled(TEXT, {**TEXT, "clinic": pa.string()}, keep=["clinic"])
    assert made.misfits == {"0": "0: no column 'clinic', which input.keep names"}
    assert made.kept == (pa.field("clinic", pa.string()),)


def test_where_no_shard_fits_there_are_no_columns() -> None:
    made = settled(without("text"), without("persona"), keep=["text"])
    assert (made.columns, made.kept) == ({}, ())
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
    kept = InputSettings(path="in", keep=["x"])
    assert "two columns 'x'" in settle(kept, {"a": unread}, PAIR).misfits["a"]


def test_of_very_many_columns_some_are_named() -> None:
    """A table of features has thousands."""
    wide = {**without("persona"), **{f"feature {n}": pa.float32() for n in range(20_000)}}
    told = settled(wide).misfits["0"]
    assert told.startswith("0: no column 'persona' (it has ")
    assert "feature 30, " in told
    assert " and 19," in told
    assert len(told) < 1000


def test_a_path_that_would_act_on_a_terminal_is_told_with_escapes() -> None:
    lacking = pa.schema(list(without("text").items()))
    [told] = settle(InputSettings(path="in"), {"a\r\udcff": lacking}, PAIR).misfits.values()
    assert told.startswith(r"a\r\xff: no column 'text'")


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
        "0: column 'relief' (input.columns.ulga) is string; it must be votes of 0 and 1; to go "
        "without, set input.columns.ulga to null"
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


FOUR = ("embarassing", "calm", "fear", "joy")


def gold_columns(*names: str, **settings: object) -> Settled:
    """Settle the columns of one shard with votes under these names, for the labels of `FOUR`."""
    schema = pa.schema([*TEXT.items(), *((name, pa.int8()) for name in names)])
    return settle(InputSettings.model_validate({"path": "in", **settings}), {"a": schema}, FOUR)


def test_most_of_the_labels_as_columns_are_refused_with_the_nearest_name() -> None:
    told = gold_columns("embarrassing", "calm", "fear", "joy").misfits["a"]
    assert told == (
        "a: gold as columns needs one for each label, and 3 of 4 are there; without one: "
        "embarassing (is it 'embarrassing'?). Map each by input.columns (LABEL: YOUR_NAME), or "
        "set input.columns.labels to null to go without gold"
    )
    mapped = gold_columns(
        "embarrassing", "calm", "fear", "joy", columns={"embarassing": "embarrassing"}
    )
    assert mapped.misfits == {}
    assert mapped.columns["embarassing"] == "embarrassing"
    assert set(FOUR) < set(mapped.columns)


def test_labels_in_other_letters_are_the_nearest_names() -> None:
    told = gold_columns("Embarassing", "calm", "fear", "joy").misfits["a"]
    assert "embarassing (is it 'Embarassing'?)" in told


def test_a_mapping_of_some_labels_alone_is_refused() -> None:
    told = gold_columns("strach", columns={"fear": "strach"}).misfits["a"]
    assert "1 of 4 are there; without one: embarassing, calm, joy." in told


def test_of_very_many_labels_without_a_column_some_are_named() -> None:
    many = tuple(f"label_{number}" for number in range(30))
    schema = pa.schema([*TEXT.items(), *((name, pa.int8()) for name in many[:16])])
    told = settle(InputSettings(path="in"), {"a": schema}, many).misfits["a"]
    assert "16 of 30 are there; without one: label_16," in told
    assert "label_20 and 9 more. Map each" in told


def test_a_few_of_the_labels_are_somebody_elses_columns() -> None:
    made = gold_columns("fear", "joy", "rage")
    assert made.misfits == {}
    assert set(made.columns) == set(TEXT)
    assert made.partly_labelled == ("fear", "joy")


def test_gold_as_columns_can_be_gone_without() -> None:
    made = gold_columns("calm", "fear", "joy", columns={"labels": None})
    assert (made.misfits, set(made.columns)) == ({}, set(TEXT))
    whole = gold_columns(*FOUR, columns={"labels": None})
    assert set(whole.columns) == set(TEXT)


def test_beside_a_column_of_labels_those_of_their_names_are_others() -> None:
    named = pa.schema([*TEXT.items(), ("labels", pa.list_(pa.string())), ("calm", pa.int8())])
    made = settle(InputSettings(path="in"), {"a": named}, FOUR)
    assert (made.misfits, made.partly_labelled) == ({}, ())


def test_a_struct_that_lacks_a_label_is_refused_with_the_nearest_name() -> None:
    votes = pa.struct([(name, pa.int8()) for name in ("embarrassing", *FOUR[1:])])
    made = settle(
        InputSettings(path="in"), {"a": pa.schema([*TEXT.items(), ("labels", votes)])}, FOUR
    )
    assert (
        "has 3 of the 4 labels; there is no field embarassing (is it 'embarrassing'?)"
        in (made.misfits["a"])
    )
    assert "to go without, set input.columns.labels to null" in made.misfits["a"]
