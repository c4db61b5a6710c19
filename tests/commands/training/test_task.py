"""Prompts, answers and labels of one's own: trained by, left beside the adapter, and used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from medsent.answers.file import load_answer, shipped_answer
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.objectives import objective_for
from medsent.commands.training.plan import widest_pass
from medsent.commands.training.readings import Opinion, Readings
from medsent.commands.training.run import plan_training, run_training, train
from medsent.commands.training.task import open_task
from medsent.config.job import VariantSettings
from medsent.config.labels import LABELS, load_labels
from medsent.errors import ConfigError, ModelError
from medsent.metrics.statistics.thresholds import read_thresholds
from medsent.models.merge import merge
from medsent.prompts.file import load_prompt, shipped_prompt
from medsent.scoring.variant import open_thresholds, open_variants
from tests.commands.training.sessions import changed

pytestmark = pytest.mark.slow

Settings = Callable[..., TrainingConfig]

PROMPT = {
    "messages": [
        {"role": "system", "content": {"en": "Labels: {labels}", "pl": "Etykiety: {labels}"}},
        {"role": "user", "content": {"en": "{persona.name}: {opinion}\n", "pl": "{opinion}\n"}},
    ],
    "nobody": "no",
}


def write(file: Path, content: Any) -> str:
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def of_labels(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes the opinions' folders with as many labels, and `labels.yaml` beside them."""

    def make(count: int) -> Path:
        folder = tmp_path_factory.mktemp(f"labels-{count}")
        names = [f"uczucie {number}" for number in range(count)]
        for split, rows in (("train", 24), ("validation", 6)):
            table = pq.read_table(data / split).slice(0, rows)
            given = [list(row.values()) for row in table["labels"].to_pylist()]
            gold = [
                {name: row[place % len(row)] for place, name in enumerate(names)} for row in given
            ]
            (folder / split).mkdir()
            table = table.drop_columns("labels").append_column("labels", pa.array(gold))
            pq.write_table(table, folder / split / "part.parquet")
        words = ["on", "żal", "doctor", "sun", "bread"]
        entries = [
            {"name": name, "word": words[place], "description": {"pl": "tak: nie"}}
            if place < len(words)
            else {"name": name}
            for place, name in enumerate(names)
        ]
        write(folder / "labels.yaml", entries)
        return folder

    return make


@pytest.fixture
def settings(config: TrainingConfig, of_labels: Callable[[int], Path], tmp_path: Path) -> Settings:
    """Makes settings of two steps with a prompt, an answer and labels in files."""

    def make(count: int, method: str, answer: dict[str, Any] | None = None) -> TrainingConfig:
        source = of_labels(count)
        return changed(
            config,
            method=method,
            prompt=write(tmp_path / "my-prompt.yaml", PROMPT),
            answer=write(tmp_path / "my-answer.yaml", answer) if answer else None,
            labels=str(source / "labels.yaml"),
            data={"train": str(source / "train"), "validation": str(source / "validation")},
            optimiser={"epochs": 1, "evaluations": 1, "checkpoints": 1},
        )

    return make


@pytest.mark.parametrize(
    ("count", "method", "answer"),
    [
        (5, "onepass", None),
        (5, "json", {"yes": "yes", "no": "no", "style": "spaced"}),
        (60, "json", {"form": "list", "under": "labels", "names": {"uczucie 7": "off"}}),
        (60, "bits", None),
    ],
    ids=["onepass", "words", "list", "bits"],
)
def test_a_variant_asks_as_the_adapter_was_trained(
    settings: Settings,
    count: int,
    method: str,
    answer: dict[str, Any] | None,
    tiny_model: Path,
    tokenizer: Any,
) -> None:
    config = settings(count, method, answer)
    folder = run_training(config)
    labels = load_labels(config.labels)
    assert load_labels(str(folder / "labels.yaml")) == labels
    assert load_prompt(folder / "prompt.yaml") == load_prompt(str(config.prompt))
    assert (folder / "answer.yaml").exists() == (answer is not None)
    if answer:
        assert load_answer(folder / "answer.yaml").content() == answer
    tuned = folder / "thresholds.json" if method == "onepass" else None
    assert (folder / "thresholds.json").exists() == (tuned is not None)
    given: dict[str, Any] = {"method": method, "adapter": str(folder)}
    wanted = VariantSettings.model_validate(given | ({"thresholds": str(tuned)} if tuned else {}))
    [variant] = open_variants({"v": wanted}, {"v": open_thresholds(wanted)}, labels, tiny_model)
    assert (variant.prompt, variant.prompt_from) == (load_prompt(str(config.prompt)), "adapter")
    assert variant.answer == (load_answer(str(config.answer)) if answer else None)
    assert variant.trained_as is not None
    assert (variant.trained_as.method, variant.trained_as.labels) == (method, labels)
    variant.bind(tokenizer, {}, labels)
    card = (folder / "README.md").read_text()
    assert f"of {count} labels" in card
    assert variant.prompt.digest() in card
    if tuned:
        assert variant.thresholds == read_thresholds(tuned).thresholds
        assert read_thresholds(tuned).prompt == variant.prompt.digest()


def test_a_merged_model_asks_as_its_adapter_was_trained(
    settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    config = settings(5, "json", {"yes": "tak", "no": "nie"})
    adapter = run_training(config)
    model = merge(str(tiny_model), str(adapter), str(tmp_path / "merged"))
    labels = load_labels(config.labels)
    assert load_labels(str(model / "labels.yaml")) == labels
    wanted = {"v": VariantSettings(method="json")}
    [variant] = open_variants(wanted, {"v": None}, labels, model)
    assert (variant.prompt, variant.prompt_from) == (load_prompt(str(config.prompt)), "adapter")
    assert variant.answer == load_answer(str(config.answer))


@pytest.fixture
def begun(tmp_path: Path) -> str:
    """The files, without weights, of an adapter of two labels for a JSON answer."""
    folder = tmp_path / "begun"
    folder.mkdir()
    write(folder / "prompt.yaml", PROMPT)
    write(folder / "answer.yaml", {"yes": "tak", "no": "nie"})
    write(folder / "labels.yaml", [{"name": "anger"}, {"name": "calm", "word": "quiet"}])
    (folder / "README.md").write_text("by the answer method `json` of medsent")
    return str(folder)


def test_a_start_brings_its_prompt_answer_and_labels(config: TrainingConfig, begun: str) -> None:
    task = open_task(changed(config, method="json", start_from=begun, label_weights={"calm": 3}))
    assert task.prompt == load_prompt(f"{begun}/prompt.yaml")
    assert task.answer is not None
    assert task.answer.yes == "tak"
    assert (task.labels.words, task.weights) == (("anger", "quiet"), (1.0, 3.0))


def test_what_the_settings_name_goes_before_the_starts(
    config: TrainingConfig, begun: str, tmp_path: Path
) -> None:
    prompt = write(tmp_path / "other.yaml", {"text": "{opinion}"})
    answer = write(tmp_path / "answer.yaml", {"form": "list"})
    given = {"method": "json", "prompt": prompt, "answer": answer}
    task = open_task(changed(config, start_from=begun, **given))
    assert task.prompt.text == "{opinion}"
    assert task.answer is not None
    assert task.answer.form == "list"


def test_a_start_of_another_method_brings_its_labels_alone(
    config: TrainingConfig, begun: str
) -> None:
    task = open_task(changed(config, method="bits", start_from=begun))
    assert task.prompt == shipped_prompt("bits")
    assert task.labels.names == ("anger", "calm")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["calm", "fear"], r"\(it has fear beside them and lacks anger\)"),
        (["calm", "anger"], r"\(it has them in another order\)"),
    ],
)
def test_a_start_of_other_labels_is_refused(
    config: TrainingConfig, begun: str, tmp_path: Path, names: list[str], told: str
) -> None:
    labels = write(tmp_path / "other.yaml", [{"name": name} for name in names])
    with pytest.raises(ConfigError, match=rf"^labels: .*other\.yaml is of other .*{told}"):
        open_task(changed(config, labels=labels, start_from=begun))


def test_what_does_not_go_together_is_named(config: TrainingConfig, tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.yaml", [{"name": "calm"}, {"name": "calmness"}])
    answer = write(tmp_path / "answer.yaml", {"names": {"anger": "gniew"}})
    with pytest.raises(ConfigError, match=r"^label_weights: anger is no label; known are calm, c"):
        open_task(changed(config, labels=labels, label_weights={"anger": 2.0}))
    with pytest.raises(ConfigError, match=r"^answer: .*'anger' is no label"):
        open_task(changed(config, method="json", labels=labels, answer=answer))
    with pytest.raises(ValueError, match="answer goes with method json, not with bits"):
        changed(config, method="bits", answer=answer)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        open_task(changed(config, prompt=str(tmp_path / "missing.yaml")))


def test_a_tokenizer_that_cannot_tell_the_labels_apart_is_told_before_training(
    settings: Settings, tmp_path: Path
) -> None:
    config = settings(2, "onepass")
    entries = [{"name": "uczucie 0", "word": "calm"}, {"name": "uczucie 1", "word": "calm down"}]
    for start in (train, plan_training):
        with pytest.raises(ModelError, match=r"uczucie 0 .* and uczucie 1"):
            start(changed(config, labels=write(tmp_path / "alike.yaml", entries)))


def test_checkpoints_keep_to_prompt_and_labels(config: TrainingConfig, tmp_path: Path) -> None:
    """Of those that ship they say nothing, so that older ones are gone on with."""
    train(changed(config, optimiser={"epochs": 0.25}))
    recipe = json.loads((tmp_path / "adapter" / "checkpoints" / "training.json").read_text())
    assert not {"prompt", "answer", "labels"} & recipe.keys()
    ships = write(tmp_path / "same.yaml", shipped_prompt("onepass").content())
    same = changed(config, optimiser={"epochs": 0.25}, prompt=ships)
    plan_training(same)
    other = write(tmp_path / "other.yaml", {"text": "{opinion}"})
    labels = write(tmp_path / "labels.yaml", [{"name": name, "word": name} for name in LABELS])
    for changes, told in (({"prompt": other}, "prompt"), ({"labels": labels}, "labels")):
        with pytest.raises(ConfigError, match=rf"other settings \({told}\)"):
            plan_training(changed(same, **changes))


def test_a_task_of_its_own_answer_says_so(config: TrainingConfig, tmp_path: Path) -> None:
    """1 and 0 are other values than true and false, though Python takes them for equal."""
    assert open_task(changed(config, method="json")).unshipped() == {}
    answer = write(tmp_path / "answer.yaml", {"yes": 1, "no": 0})
    task = open_task(changed(config, method="json", answer=answer))
    assert task.unshipped() == {"answer": {"yes": 1, "no": 0}}
    assert task.answer is not None
    assert task.answer.digest() != shipped_answer().digest()


@pytest.mark.parametrize("text", ["{persona}: {opinion}", "{opinion} {persona}"])
def test_the_widest_pass_is_found_wherever_the_reader_stands(
    config: TrainingConfig, tokenizer: Any, validation: Readings, tmp_path: Path, text: str
) -> None:
    """Many long texts with one reader, many short ones with many, and one of both kinds."""
    prompt = write(tmp_path / "prompt.yaml", {"text": text})
    some = changed(config, prompt=prompt, optimiser={"opinions_per_step": 1})
    objective = objective_for(open_task(some), tokenizer)
    first = validation.opinions[0]

    def opinion(number: int, words: int, readers: int) -> Opinion:
        gold = np.repeat(first.gold[:1], readers, axis=0)
        return Opinion(str(number), "word " * words, "en", [None] * readers, gold)

    long = [opinion(number, 80, 1) for number in range(10)]
    many = [opinion(number, 2, 20) for number in range(10, 20)]
    readings = Readings("", [*long, *many, opinion(20, 60, 16)])
    widths = [objective.collate([each])["input_ids"].shape[1] for each in readings.opinions]
    assert widest_pass(some, objective, readings)["input_ids"].shape[1] == max(widths)
