"""`medsent prompt --against`: whether a training pipeline renders what is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from medsent.cli import main
from medsent.commands.prompt import show
from medsent.config.personas import load_personas
from medsent.errors import InputError, MedsentError, UsageError
from medsent.prompts.prompter import Prompter
from tests.commands.prompt.lines import Asked, asked_of, with_texts, written
from tests.conftest import JobBuilder, scripted_values

Written = Callable[[Prompter, dict[str, Any]], Any]

KINDS: dict[str, Written] = {
    "text": lambda p, row: p.text(*asked_of(row)),
    "text with BOS": lambda p, row: "<bos>" + p.text(*asked_of(row)),
    "ids": lambda p, row: p.prompt(*asked_of(row)),
    "object with text": lambda p, row: {"text": p.text(*asked_of(row)), "more": 1},
    "object with prompt": lambda p, row: {"prompt": p.text(*asked_of(row)), "text": None},
    "input_ids": lambda p, row: {"input_ids": p.prompt(*asked_of(row)), "text": "no matter"},
    "token_ids": lambda p, row: {"token_ids": p.prompt(*asked_of(row))},
    "ids by record": lambda p, row: {
        "ids": p.prompt(*asked_of(row)), "record_id": row["record_id"]
    },
    "by record and persona": lambda p, row: {
        "ids": p.prompt(*asked_of(row)), "record_id": row["record_id"], "persona": row["persona"]
    },
    "own record": lambda p, row: {
        "text": p.text(row["text"], row["language"], None), "opinion": row["text"],
        "language": row["language"],
    },
    "own record and reader": lambda p, row: {
        "ids": p.prompt("\x00 <bos>{persona}", "en", row["persona"]),
        "opinion": "\x00 <bos>{persona}", "persona": row["persona"], "language": "en",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_equal_lines_of_each_kind(
    shown: Asked, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path, kind: str
) -> None:
    lines = [KINDS[kind](prompter, row) for row in rows]
    if "record" in kind:
        lines.reverse()
    file = written(tmp_path / "lines.jsonl", lines)
    said = shown(against=file)
    assert said[-1] == f"{file}: equal in all 24"
    textual = "text" in kind or kind in ("object with prompt", "own record")
    assert ("Text lines say nothing of BOS; give token ids to compare that." in said) == textual
    assert not any(line.startswith("Record") for line in said)


def test_all_kinds_in_one_file_and_lines_that_go_on(
    shown: Asked, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path
) -> None:
    ids, text = prompter.prompt(*asked_of(rows[0])), prompter.text(*asked_of(rows[1]))
    named = {"record_id": rows[20]["record_id"], "prompt": prompter.text(*asked_of(rows[20])) + "{"}
    file = written(tmp_path / "lines.jsonl", [[*ids, 5, 6], named, text + ' {"a": 1}'])
    said = shown(against=file)
    assert said[-1].startswith(f"{file}: equal in all 3; 3 go on after the prompt, the first with:")
    assert "lacks its end" in said[-1]


def test_with_a_record_both_are_told(
    shown: Asked, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path
) -> None:
    file = written(tmp_path / "lines.jsonl", [prompter.prompt(*asked_of(rows[0]))])
    said = shown(against=file, record=rows[0]["record_id"])
    assert any(line.startswith("Token ids") for line in said)
    assert said[-1] == f"{file}: equal in all 1"


@pytest.fixture
def told(job: JobBuilder, own: dict[str, Any]) -> Callable[[str], tuple[list[str], str]]:
    """Return a caller that gives back what is said before the error, and the error."""

    def call(file: str) -> tuple[list[str], str]:
        said: list[str] = []
        with pytest.raises(MedsentError) as raised:
            said.extend(show(job(variants={"own": own}), against=file))
        assert raised.value.exit_code == 1
        return said, str(raised.value)

    return call


def test_a_difference_in_tokens_is_named_with_what_stands_around(
    told: Any, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path
) -> None:
    lines = [prompter.prompt(*asked_of(row)) for row in rows]
    place = len(lines[3]) - 4
    lines[3][place] = 0  # <bos>, the one special token
    lines[7] = lines[7][:10]
    file = written(tmp_path / "lines.jsonl", lines)
    said, error = told(file)
    assert error == (f"{file}: 2 of 24 lines differ from what variant own is asked, line 4 first")
    named = f"record {rows[3]['record_id']}, {rows[3]['persona']}"
    head, ours, theirs = said[-3:]
    assert head == (
        f"{file}, line 4 ({named}): differs at token {place + 1}, after {place} equal ones; the "
        f"prompt has {len(lines[3])} and the line {len(lines[3])}"
    )
    assert ">> ⟦<bos>⟧|" in theirs
    assert "⟦" not in ours
    assert theirs.endswith(" (ends)")
    assert ours.split(" >> ")[0].split()[-1] == theirs.split(" >> ")[0].split()[-1]


def test_a_line_that_ends_early_differs(
    told: Any, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path
) -> None:
    file = written(tmp_path / "lines.jsonl", [prompter.prompt(*asked_of(rows[0]))[:10]])
    said, error = told(file)
    assert "1 of 1 lines differ" in error
    assert "differs at token 11, after 10 equal ones" in said[-3]
    assert said[-1].endswith(">>  (ends)")


def test_a_difference_in_text_is_named_by_its_character(
    told: Any, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path
) -> None:
    text = prompter.text(*asked_of(rows[0])).replace("\nOpinia: ", "\x1b\nOpinia: ")
    file = written(tmp_path / "lines.jsonl", ["<bos>" + text])
    said, _ = told(file)
    place = text.index("\x1b")
    assert f"differs at character {place + 1}, after {place} equal ones" in said[-3]
    assert ">> \\x1b\\nOpinia: " in said[-1]
    assert ">> \\nOpinia: " in said[-2]


def test_bos_that_is_lacking_or_double_is_said(
    told: Any, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path
) -> None:
    ids = prompter.prompt(*asked_of(rows[0]))
    for line, number in ((ids[1:], 0), ([0, *ids], 2)):
        said, _ = told(written(tmp_path / "lines.jsonl", [line]))
        assert said[-1] == (
            f"  Only BOS differs: the prompt begins with 1, the line with {number}; the prompt "
            f"file sets it (bos: {number})"
        )


def test_a_name_in_another_order_is_a_difference(
    told: Any, rows: list[dict[str, Any]], prompter: Prompter, tmp_path: Path
) -> None:
    lines = [prompter.text(*asked_of(row)) for row in rows[:2]]
    _, error = told(written(tmp_path / "lines.jsonl", lines[::-1]))
    assert "2 of 2 lines differ" in error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "it is not JSON; give a text, a list of token ids, or an object"),
        ("[" * 100_000, "it is not JSON"),
        ("12", "give a text, a list of token ids, or an object"),
        ("null", "give a text"),
        ("[1, 2.5]", "its token ids are not all whole numbers"),
        ("[[1, 2]]", "its token ids are not all whole numbers"),
        ("[1, true]", "its token ids are not all whole numbers"),
        ('{"opinion": "x"}', "it has none of prompt, text, input_ids, token_ids, ids"),
        ('{"text": ["x"]}', "text is no text"),
        ('{"input_ids": "x"}', "input_ids is no list of token ids"),
        ('{"text": "x", "record_id": false}', "record_id is neither text nor a whole number"),
        ('{"text": "x", "record_id": 1.5}', "record_id is neither text nor a whole number"),
        ('{"text": "x", "record_id": "none-such"}', "no record of the input has this record_id"),
        ('{"text": "x", "persona": "surgeon"}', "persona goes with record_id or opinion"),
        ('{"text": "x", "opinion": 3}', "opinion is no text"),
        ('{"text": "x", "opinion": "y", "persona": "nobody-known"}', "its persona is not in the"),
    ],
)
def test_a_bad_line_is_named_by_its_number(
    shown: Asked, tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text(f'\n{line}\n"fine"')
    with pytest.raises(UsageError) as refused:
        shown(against=str(file))
    assert str(refused.value).startswith(f"{file}, line 2: {message}")


def test_files_that_cannot_be_compared(shown: Asked, tmp_path: Path, own: dict[str, Any]) -> None:
    file = tmp_path / "lines.jsonl"
    for content, message in ((b"\n \n", "has no line"), (b"\xff", "is not UTF-8 text")):
        file.write_bytes(content)
        with pytest.raises(UsageError, match=message):
            shown(against=str(file))
    with pytest.raises(UsageError, match="cannot read"):
        shown(against=str(tmp_path / "gone.jsonl"))
    file.write_text('"x"\n' * 25)
    with pytest.raises(
        UsageError, match=r"line 25: the input has only 24 records; name the record"
    ):
        shown(against=str(file))
    variants = {"own": own, "same": {**own, "guided": False}, "plain": {}}
    with pytest.raises(UsageError, match="give --variant, one of own, same, plain"):
        shown(groups={"variants": variants}, against=str(file))


def test_variants_that_are_asked_the_same_need_no_name(
    shown: Asked,
    rows: list[dict[str, Any]],
    prompter: Prompter,
    own: dict[str, Any],
    tmp_path: Path,
) -> None:
    file = written(tmp_path / "lines.jsonl", [prompter.text(*asked_of(rows[0]))])
    variants = {"own": own, "same": {**own, "guided": False}}
    assert shown(groups={"variants": variants}, against=file)[-1].endswith("equal in all 1")


def test_records_of_one_id_are_taken_in_order_or_by_persona(
    shown: Asked,
    told: Any,
    rows: list[dict[str, Any]],
    prompter: Prompter,
    own: dict[str, Any],
    tmp_path: Path,
) -> None:
    name, (text, language, _) = rows[0]["record_id"], asked_of(rows[0])
    lines = [
        {"record_id": name, "persona": reader, "text": prompter.text(text, language, reader)}
        for reader in ("surgeon", "chaplain")
    ]
    first = sorted(load_personas(None))[:2]
    lines += [{"record_id": name, "text": prompter.text(text, language, each)} for each in first]
    groups = {"input": {"fan_out": "personas"}, "variants": {"own": own}}
    file = written(tmp_path / "lines.jsonl", lines)
    assert shown(groups=groups, against=file)[-1] == f"{file}: equal in all 4"
    file = written(tmp_path / "lines.jsonl", [*lines, lines[0]])
    with pytest.raises(
        UsageError, match="line 5: the input has only 1 records of this record_id of"
    ):
        shown(groups=groups, against=file)


def test_lines_of_records_that_are_not_asked_are_counted(
    job: JobBuilder, own: dict[str, Any], demo_shard: Path, prompter: Prompter, tmp_path: Path
) -> None:
    texts = ["", *(f"Opinion {n}" for n in range(23))]
    path = with_texts(demo_shard, tmp_path / "in", text=texts)
    rows = pq.read_table(path).to_pylist()
    config = job(input={"path": path}, variants={"own": own})
    lines = ["whatever", prompter.text(*asked_of(rows[1]))]
    file = written(tmp_path / "lines.jsonl", lines)
    said = list(show(config, against=file))
    assert f"{file}: 1 lines are of records that are not asked: empty_text" in said
    assert said[-1] == f"{file}: equal in all 1"
    with pytest.raises(MedsentError, match="no line is of a record that is asked"):
        list(show(config, against=written(tmp_path / "lines.jsonl", lines[:1])))


def test_a_damaged_shard_is_named(
    shown: Asked, demo_shard: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    data = bytearray(demo_shard.read_bytes())
    data[40:400] = bytes(360)
    (tmp_path / "bad.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.parquet is damaged inside"):
        shown(groups={"input": {"path": str(tmp_path / "bad.parquet")}}, record="x")


def test_the_command_ends_as_its_answer_is(
    demo_shard: Path, small_model: Path, rows: list[dict[str, Any]], own: dict[str, Any],
    prompter: Prompter, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    job = tmp_path / "job.yaml"
    values = scripted_values(demo_shard, tmp_path / "runs", small_model)
    job.write_text(yaml.safe_dump({**values, "variants": {"own": own, "plain": {}}}))
    file = written(tmp_path / "lines.jsonl", [prompter.text(*asked_of(row)) for row in rows])
    for arguments, code in (([], 2), (["--variant=own"], 0), (["--variant=plain"], 1)):
        with pytest.raises(SystemExit) as ended:
            main(["prompt", str(job), "--against", file, *arguments])
        assert ended.value.code == code
    ends = capsys.readouterr()
    assert f"{file}: equal in all 24" in ends.out.splitlines()
    assert ends.err.splitlines()[-1].startswith(f"medsent: {file}: 24 of 24 lines differ")
    assert not (tmp_path / "runs").exists()
