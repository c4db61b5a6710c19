"""`medsent prompt` shows what is asked to the last token, and nothing of an opinion acts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medsent.config.personas import load_personas
from medsent.errors import InputError, UsageError
from medsent.prompts.prompter import Prompter
from tests.commands.prompt.lines import Asked, with_texts

HOSTILE = "\x1b[31mRed <bos> ⟦<bos>⟧\nVariant         other\r\u202e {persona} 🤕"


def test_it_shows_each_variant_with_a_made_up_opinion(
    shown: Asked, own: dict[str, Any], rows: list[dict[str, Any]], prompter: Prompter
) -> None:
    said = shown(groups={"variants": {"own": own, "plain": {}, "digits": {"method": "bits"}}})
    text = "\n".join(said)
    for heading in ("own: method json", "plain: method onepass", "digits: method bits"):
        assert f"Variant         {heading}" in said
    assert f"{own['prompt']}, digest " in text
    assert "the one that ships for onepass, digest " in text
    assert "JSON object, true or false for each label, under a grammar" in text
    assert "nothing is written" in text
    assert '  | {"positive":true,"negative":false,' in text
    assert "  | 100000000000000000000" in said
    assert "  | ⟦<bos>⟧Osoba: an emergency nurse, blunt and unshockable" in said
    assert "  | Opinia: The nurse was kind, but I waited for two hours." in said
    ids = prompter.prompt(
        "The nurse was kind, but I waited for two hours.", "en", "emergency_nurse"
    )
    assert f"Token ids       {len(ids)}: {' '.join(map(str, ids))}" in said
    assert not any(row["text"] in text for row in rows)


def test_it_shows_one_variant(shown: Asked, own: dict[str, Any]) -> None:
    variants = {"own": own, "plain": {}}
    said = shown(groups={"variants": variants}, variant="plain")
    assert [line for line in said if line.startswith("Variant")] == [
        "Variant         plain: method onepass"
    ]
    with pytest.raises(
        UsageError, match=r"--variant other is no variant of the job \(own, plain\)"
    ):
        shown(groups={"variants": variants}, variant="other")


def test_it_needs_no_input_for_the_stand_in(shown: Asked, tmp_path: Path) -> None:
    gone = {"path": str(tmp_path / "gone"), "columns": {"persona": None}}
    assert "  | Reader: any reader" in shown(groups={"input": gone})


def test_it_speaks_a_language_of_the_file(shown: Asked, tmp_path: Path) -> None:
    for file, told in (
        ({"text": {"de": "Meinung: {opinion}", "pl": "Opinia: {opinion}"}}, "language de"),
        ({"text": "{opinion}", "language": "pl"}, "language pl"),
        ({"text": {"pl": "{opinion}", "en": "{opinion}"}}, "language en"),
    ):
        path = tmp_path / "spoken.yaml"
        path.write_text(yaml.safe_dump(file))
        said = shown(groups={"variants": {"v": {"prompt": str(path)}}})
        assert any(line.startswith("Record") and told in line for line in said)


def test_an_adapters_own_prompt_is_named(shown: Asked, write_adapter: Any, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "prompt.yaml").write_text("text: '{opinion}?'")
    (folder / "answer.yaml").write_text("form: list")
    variant = {
        "method": "json",
        "adapter": str(folder),
        "sampling": {"temperature": 0.5, "seed": 3},
    }
    text = "\n".join(shown(groups={"variants": {"v": variant}}))
    assert f"prompt.yaml beside the adapter {folder}, digest" in text
    assert f"answer.yaml beside the adapter {folder} with what the job says, digest" in text
    assert "JSON list of the labels given, under a grammar" in text
    assert "temperature 0.5, top_p 1, seed 3" in text
    assert '  | ["positive"]' in text


def test_a_record_is_shown_by_its_id(
    shown: Asked, rows: list[dict[str, Any]], prompter: Prompter
) -> None:
    row = rows[5]
    said = shown(record=row["record_id"])
    lines = row["text"].split("\n")
    assert f"  | Opinia: {lines[0]}" in said
    ids = prompter.prompt(row["text"], row["language"], row["persona"])
    assert f"Token ids       {len(ids)}: {' '.join(map(str, ids))}" in said
    with pytest.raises(InputError, match=r"--record no\\x1bne: no record of .* has this record_id"):
        shown(record="no\x1bne")


def test_nothing_of_an_opinion_acts_on_the_terminal(
    shown: Asked, demo_shard: Path, tmp_path: Path, own: dict[str, Any]
) -> None:
    ids = [f"{n}\x1b[0m" for n in range(24)]
    path = with_texts(demo_shard, tmp_path / "in", text=[HOSTILE] * 24, record_id=ids)
    groups = {"input": {"path": path}, "variants": {"own": own}}
    text = "\n".join(shown(groups=groups, record=ids[3]))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\u202e" not in text
    opinion = (
        "\\x1b[31mRed <bos> \\u27e6<bos>\\u27e7\n  | Variant         other\\r\\u202e {persona} 🤕"
    )
    assert f"  | Opinia: {opinion}\n  | Odpowiedź:" in text
    assert text.count("⟦<bos>⟧") == 1
    assert "Record          3\\x1b[0m;" in text


def test_each_reader_of_a_record_is_shown(
    shown: Asked, rows: list[dict[str, Any]], own: dict[str, Any]
) -> None:
    fan_out = {"fan_out": "personas"}
    said = shown(groups={"input": fan_out, "variants": {"own": own}}, record=rows[0]["record_id"])
    records = [line for line in said if line.startswith("Record")]
    assert len(records) == 16
    assert len(set(records)) == 16


def test_of_several_rows_with_one_id_the_first_is_shown(
    shown: Asked, demo_shard: Path, tmp_path: Path
) -> None:
    texts = ["", *(f"Opinion {n}" for n in range(23))]
    path = with_texts(demo_shard, tmp_path / "in", record_id=["a"] * 3 + ["b"] * 21, text=texts)
    said = shown(groups={"input": {"path": path}}, record="b")
    assert "                the first of 21 with this record_id" in said
    assert "  | Opinion 2" in said
    said = shown(groups={"input": {"path": path}}, record="a")
    assert "                is not asked: empty_text" in said
    assert not any(line.startswith("Token ids") for line in said)


def test_it_says_what_readers_share_and_what_the_order_costs(
    shown: Asked, own: dict[str, Any], prompter: Prompter
) -> None:
    said = shown(groups={"variants": {"plain": {}, "own": own}})
    after, before = (line for line in said if line.startswith("Readers"))
    assert "times the tokens" not in after
    opinion = "The nurse was kind, but I waited for two hours."
    lengths = [len(prompter.prompt(opinion, "en", name)) for name in load_personas(None)]
    assert "16 readers of this opinion share the first " in before
    assert f"{min(lengths)} to {max(lengths)} tokens" in before
    moved = int(before.split("after the opinion ")[1].split(",")[0].replace(",", ""))
    computed = int(before.split(": ")[1].split(" to compute")[0].replace(",", ""))
    assert f"takes {computed / moved:.1f} times the tokens" in before
    assert computed > 1.5 * moved
    assert computed < sum(lengths)


def test_a_prompt_without_a_persona_is_one_for_all(shown: Asked, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("text: '{opinion}'")
    said = shown(groups={"variants": {"v": {"prompt": str(tmp_path / "p.yaml")}}})
    assert (
        "Readers         the prompt does not say who reads, so that it is the same for all" in said
    )
