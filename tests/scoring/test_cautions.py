"""What wants a second look before a job runs: how an adapter was trained, persona, languages."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.check import check
from medsent.commands.evaluate import evaluate
from medsent.config.labels import LABELS
from medsent.config.loader import yaml_text
from medsent.config.personas import load_personas
from medsent.input.lookup import Lookup
from medsent.prompts.file import shipped_prompt
from medsent.scoring.cautions import cautions
from medsent.scoring.plan import make_plan
from tests.conftest import AdapterWriter, JobBuilder

pytestmark = pytest.mark.slow

CARD = "It predicts labels, by the answer method `{method}` of medsent. Trained by `medsent train`."

Cautioned = Callable[..., list[str]]
Folder = Callable[..., str]


@pytest.fixture
def cautioned(job: JobBuilder) -> Cautioned:
    """Return what a job with one variant `v` is cautioned of, without the variant's name."""

    def call(variant: dict[str, Any], **groups: Any) -> list[str]:
        found = list(cautions(make_plan(job(variants={"v": variant}, **groups))))
        return [each.removeprefix("v: ") for each in found]

    return call


@pytest.fixture
def adapter(write_adapter: AdapterWriter, tmp_path: Path) -> Folder:
    """Return a writer of an adapter with a card and files beside it."""

    def write(name: str, card: str | None = None, **files: Any) -> str:
        folder = write_adapter(tmp_path / name)
        if card is not None:
            (folder / "README.md").write_text(CARD.format(method=card))
        for file, content in files.items():
            (folder / f"{file}.yaml").write_text(yaml_text(content), encoding="utf-8")
        return str(folder)

    return write


@pytest.fixture
def prompt(tmp_path: Path) -> Callable[..., str]:
    def write(name: str = "prompt", **content: Any) -> str:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(file)

    return write


def test_a_plain_job_is_cautioned_of_nothing(cautioned: Cautioned) -> None:
    for method in ("onepass", "bits", "json"):
        assert cautioned({"method": method}) == []


def test_an_adapter_that_names_no_prompt(
    cautioned: Cautioned, adapter: Folder, prompt: Any
) -> None:
    [told] = cautioned({"adapter": adapter("bare")})
    assert told.startswith("its adapter names no prompt: nothing tells whether it was trained with")
    assert "`medsent prompt JOB --variant v --against FILE`" in told
    named = prompt(text="{opinion} {persona}")
    assert cautioned({"adapter": adapter("bare"), "prompt": named}) == []


@pytest.mark.parametrize("method", ["onepass", "bits", "json"])
def test_an_adapter_of_an_earlier_version_was_trained_with_what_ships(
    cautioned: Cautioned, adapter: Folder, prompt: Any, method: str
) -> None:
    folder = adapter("own", card=method)
    assert cautioned({"method": method, "adapter": folder}) == []
    [told] = cautioned(
        {"method": method, "adapter": folder, "prompt": prompt(text="{opinion} {persona}")}
    )
    assert told.startswith("its adapter was trained with another prompt (digest ")


def test_an_adapter_with_its_files_is_asked_by_them(cautioned: Cautioned, adapter: Folder) -> None:
    files = {
        "prompt": {"text": "{opinion} {persona}"},
        "answer": {"form": "list"},
        "labels": [{"name": name} for name in LABELS],
    }
    assert cautioned({"method": "json", "adapter": adapter("a", "json", **files)}) == []


def test_an_adapter_asked_otherwise_than_it_was_trained(
    cautioned: Cautioned, adapter: Folder, prompt: Any, tmp_path: Path
) -> None:
    labels = [{"name": name} for name in LABELS[::-1]]
    files = {
        "prompt": {"text": "{opinion} {persona}"},
        "answer": {"form": "list"},
        "labels": labels,
    }
    folder = adapter("a", "json", **files)
    answer = tmp_path / "other.yaml"
    answer.write_text("{yes: tak, no: nie}")
    own = {"adapter": folder, "prompt": prompt(text="{opinion}! {persona}"), "answer": str(answer)}
    assert [told.split("(")[0].strip() for told in cautioned({"method": "json", **own})] == [
        "its adapter was trained with another prompt",
        "its adapter was trained to answer in another form than its answer file has",
        "its adapter was trained on other labels, or in another order, than the job's",
    ]
    found = cautioned({"method": "bits", "adapter": folder})
    assert found[0] == "its adapter was trained for method json, and is asked by bits"


def test_how_an_answer_is_generated_is_not_what_was_trained(
    cautioned: Cautioned, adapter: Folder
) -> None:
    folder = adapter("a", "json", prompt={"text": "{opinion} {persona}"})
    settings = {"guided": False, "sampling": {"temperature": 1.0, "max_tokens": 99}}
    assert cautioned({"method": "json", "adapter": folder, **settings}) == []


def test_labels_of_ones_own_under_an_earlier_adapter(
    cautioned: Cautioned, adapter: Folder, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text("[{name: positive}, {name: queue}]")
    labels = {"labels": str(tmp_path / "own.yaml"), "input": {"columns": {"labels": None}}}
    [told] = cautioned({"method": "bits", "adapter": adapter("a", card="bits")}, **labels)
    assert told.startswith("its adapter was trained on other labels")
    prompt = shipped_prompt("bits").content()
    # Nothing tells which labels another pipeline's adapter was trained on.
    assert cautioned({"method": "bits", "adapter": adapter("b", prompt=prompt)}, **labels) == []


def test_the_persona_before_the_opinion_costs(cautioned: Cautioned, prompt: Any) -> None:
    first = prompt("first", text="{persona}\n{opinion}\n")
    last = prompt("last", text="{opinion}\n{persona}\n")
    assert cautioned({"prompt": last}) == []
    [told] = cautioned({"prompt": first})
    assert "the persona stands before the opinion" in told
    four = float(told.split(" times the tokens")[0].split()[-1])
    assert "with 4 readers an opinion, " in told
    [told] = cautioned({"prompt": first}, input={"fan_out": "personas"})
    sixteen = float(told.split(" times the tokens")[0].split()[-1])
    assert "with 16 readers an opinion, " in told
    assert 1.2 < four < 4
    assert four < sixteen < 16


def test_one_reader_an_opinion_shares_nothing_anyway(
    cautioned: Cautioned, prompt: Any, demo_shard: Path, tmp_path: Path
) -> None:
    table = pq.read_table(demo_shard)
    pq.write_table(table.take([0, 4, 8, 12, 16, 20]), tmp_path / "single.parquet")
    single = {"path": str(tmp_path / "single.parquet")}
    assert cautioned({"prompt": prompt(text="{persona}: {opinion}")}, input=single) == []


def test_a_prompt_that_does_not_say_who_reads(cautioned: Cautioned, prompt: Any) -> None:
    variant = {"prompt": prompt(text="{opinion}")}
    [told] = cautioned(variant)
    assert told.startswith("the prompt does not say who reads, and the records have ")
    [told] = cautioned(variant, input={"fan_out": "personas"})
    assert "have 16 personas" in told
    assert cautioned(variant, input={"columns": {"persona": None}}) == []


def test_a_text_that_was_taken_for_a_language_is_not_quoted(
    cautioned: Cautioned, prompt: Any, demo_shard: Path
) -> None:
    texts = pq.read_table(demo_shard)["text"].to_pylist()
    source = {"path": str(demo_shard), "columns": {"language": "text"}}
    words = {"en": "{opinion} {persona}", "pl": "{opinion}, {persona}"}
    for text in (words, "{opinion} {persona}"):
        [told] = cautioned({"prompt": prompt(text=text)}, input=source)
        assert "(another value 24" in told
        assert not [each for each in texts if each[:8] in told]


def test_languages_without_words_are_counted(
    cautioned: Cautioned, prompt: Any, demo_shard: Path, tmp_path: Path
) -> None:
    table = pq.read_table(demo_shard)
    codes = ["en"] * 10 + ["de"] * 6 + [None] * 4 + ["fr", "fr", "\x1b[1m", "it"]
    place = table.schema.get_field_index("language")
    pq.write_table(table.set_column(place, "language", pa.array(codes)), tmp_path / "in.parquet")
    source = {"path": str(tmp_path / "in.parquet")}
    words = {"en": "{opinion} {persona}", "pl": "{opinion}, {persona}"}
    [told] = cautioned({"prompt": prompt(text=words)}, input=source)
    assert told == (
        "the prompt has no words for the language of 14 of 24 records that were looked at (de 6, "
        "no language 4, fr 2 and 2 more): they are asked in en"
    )
    words = {"de": "{opinion} {persona}", "it": "{opinion}, {persona}", "fr": "{opinion}"}
    [told] = cautioned({"prompt": prompt(text=words)}, input=source)
    assert "15 of 24" in told
    assert told.endswith("are asked in de")
    assert "\x1b" not in told
    [told] = cautioned({"prompt": prompt(text="{opinion} {persona}")}, input=source)
    assert told == (
        "10 of 24 records that were looked at are in a language that the job has no words in "
        "(de 6, fr 2, another value 1 and 1 more; it has en, pl): their readers are described in "
        "English, or as the prompt file says"
    )


@pytest.mark.parametrize(
    ("base", "is_told"),
    [
        ("google/gemma-3-270m", False),
        ("unsloth/Gemma-3-270M-unsloth-bnb-4bit", False),
        ("", False),
        (None, False),
        ("google/gemma-3-270m-it", True),
        ("/mnt/models/gemma-3-1b/", True),
    ],
)
def test_an_adapter_of_a_variant_of_the_model_is_told(
    write_adapter: AdapterWriter,
    tmp_path: Path,
    job: JobBuilder,
    model_folder: Path,
    base: str | None,
    is_told: bool,
) -> None:
    folder = write_adapter(tmp_path / "a", base_model_name_or_path=base)
    config = job(model={"source": "builtin:gemma-3-270m"}, variants={"v": {"adapter": str(folder)}})
    found = list(cautions(make_plan(config)))
    told = [each for each in found if "says that it was trained on" in each]
    assert len(told) == is_told
    assert all(str(base) in each for each in told)


def test_a_label_without_a_description(cautioned: Cautioned, prompt: Any, tmp_path: Path) -> None:
    each = {"each": "{label}: {description}"}
    variant = {"prompt": prompt(text="{labels} {opinion} {persona}", labels=each)}
    [told] = cautioned(variant)
    assert told.endswith("no description of positive, negative, happiness and 15 more")
    labels = tmp_path / "labels.yaml"
    labels.write_text(yaml.safe_dump([{"name": n, "description": {"en": n}} for n in LABELS]))
    assert cautioned(variant, labels=str(labels)) == []


@pytest.mark.ray
def test_check_says_what_is_asked_and_what_wants_a_look(
    job: JobBuilder, adapter: Folder, prompt: Any, cluster: None, said: list[str]
) -> None:
    own = prompt(text="{persona}: {opinion}")
    variants = {
        "plain": {},
        "own": {"method": "json", "prompt": own, "guided": False},
        "bare": {"adapter": adapter("a")},
    }
    said.clear()
    check(job(variants=variants))
    asked = [line.removeprefix("Asked           ") for line in said if line.startswith("Asked")]
    assert (
        asked[0]
        == f"plain: the one that ships for onepass, digest {shipped_prompt('onepass').digest()}"
    )
    assert asked[1].startswith(f"own: {own}, digest ")
    assert "; answer: JSON object, true or false for each label, written freely, " in asked[1]
    warnings = [
        line.removeprefix("Warning         ") for line in said if line.startswith("Warning")
    ]
    assert [line.split(": ")[0] for line in warnings] == ["own", "bare"]
    assert "before the opinion" in warnings[0]
    assert "names no prompt" in warnings[1]


@pytest.mark.ray
def test_a_job_says_it_at_its_start_and_on_one_line(
    job: JobBuilder, prompt: Any, cluster: None, demo_shard: Path, tmp_path: Path, said: list[str]
) -> None:
    variants = {"own": {"prompt": prompt(text="{persona}: {opinion}")}}
    config = job(variants=variants)
    said.clear()
    evaluate(config)
    started = [line.startswith("Scored") for line in said].index(True)
    warnings = [line for line in said if line.startswith("Warning: ")]
    assert warnings == said[1:2]
    assert warnings[0].startswith("Warning: own: the persona stands before the opinion")
    assert said.index(warnings[0]) < started
    backlog = tmp_path / "backlog"
    backlog.mkdir()
    shutil.copy(demo_shard, backlog)
    values = config.model_dump(mode="json", exclude_defaults=True) | {"name": "backlog"}
    values["input"] = {"path": str(backlog)}
    said.clear()
    backfill(BackfillConfig.model_validate(values))
    assert [line for line in said if line.startswith("Warning: own: the persona")] != []


def test_a_damaged_shard_is_left_to_the_job(
    job: JobBuilder, prompt: Any, demo_shard: Path, tmp_path: Path
) -> None:
    data = bytearray(demo_shard.read_bytes())
    data[40:400] = bytes(360)
    (tmp_path / "bad.parquet").write_bytes(data)
    variants = {"v": {"prompt": prompt(text="{persona}: {opinion}")}}
    config = job(input={"path": str(tmp_path / "bad.parquet")}, variants=variants)
    assert list(cautions(make_plan(config))) == []


def test_some_records_are_of_shards_from_the_first_to_the_last(
    job: JobBuilder, demo_shard: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    table = pq.read_table(demo_shard)
    for number in range(9):
        pq.write_table(table, folder / f"{number}.parquet")
    shards = make_plan(job(input={"path": str(folder)})).shards
    personas = load_personas(None)
    rows = Lookup(shards, personas, ()).spread(20)
    assert [Path(row["path"]).stem for row in rows] == [n for n in "02468" for _ in range(4)]
    read = Lookup(shards, personas, sorted(personas)).spread(160)
    assert len(read) == 5 * 2 * 16
    assert Lookup(shards, personas, ()).first(30)[24]["path"].endswith("1.parquet")
