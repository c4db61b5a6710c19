"""An adapter's folder as training leaves it: weights, what they answer to, and the card last."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsent.commands.training.card import Facts, model_card
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.evaluation import LabelResult
from medsent.commands.training.readings import Readings
from medsent.commands.training.task import Task
from medsent.config.loader import yaml_text
from medsent.input.texts import text_hashes
from medsent.metrics.statistics.thresholds import Thresholds, TunedOn, hashed_texts
from medsent.models.adapter import ANSWER, CARD, LABELS, PROMPT, WEIGHTS
from medsent.models.adapter import CONFIG as SHAPE
from medsent.models.hashes import sha256_file

THRESHOLDS, BASELINE_THRESHOLDS = "thresholds.json", "thresholds-baseline.json"
_ORDER = (WEIGHTS, SHAPE, PROMPT, ANSWER, LABELS, THRESHOLDS, BASELINE_THRESHOLDS, CARD)
_ASKED = {"prompt": PROMPT, "answer": ANSWER, "labels": LABELS}
_HEADING = "# What this adapter was trained with.\n"


@dataclass(frozen=True)
class Result:
    """How the adapter and the base model do on the full validation split."""

    loss: float
    baseline_loss: float
    labels: list[LabelResult] | None
    """At tuned thresholds, for `onepass` only."""
    baseline_labels: list[LabelResult] | None


def write_adapter(
    config: TrainingConfig,
    task: Task,
    model: Any,
    validation: Readings,
    result: Result,
    facts: Facts,
) -> Path:
    """Write everything into `config.output` and return that folder.

    Files are written aside and renamed into place, the card last: a folder with a card
    is whole. What an earlier training left under the same names is replaced.
    """
    folder = Path(config.output)
    work = folder / ".writing"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    model.save_pretrained(str(work), save_embedding_layers=False)
    (work / WEIGHTS).chmod(0o644)  # the library writes it for its owner only
    _settle_shape(work / SHAPE, config.model.source)
    _write_task(work, task)
    sha256 = sha256_file(work / WEIGHTS)
    if result.labels and result.baseline_labels:
        tuned_on = _tuned_on(validation)
        _write_thresholds(work / THRESHOLDS, task, result.labels, sha256, tuned_on)
        _write_thresholds(work / BASELINE_THRESHOLDS, task, result.baseline_labels, None, tuned_on)
    card = model_card(config, task, facts, result.labels, result.baseline_labels, sha256)
    (work / CARD).write_text(card, encoding="utf-8")
    _publish(work, folder)
    return folder


def _settle_shape(file: Path, source: str) -> None:
    """Name the base model as the configuration does, not by where it lies on this machine."""
    shape = json.loads(file.read_text(encoding="utf-8"))
    shape["base_model_name_or_path"] = source
    shape["target_modules"] = sorted(shape["target_modules"])  # peft keeps them as a set
    file.write_text(json.dumps(shape, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_task(folder: Path, task: Task) -> None:
    """Write what a variant with this adapter reads: all of its prompts but the personas."""
    for name, said in task.content().items():
        (folder / _ASKED[name]).write_text(_HEADING + yaml_text(said), encoding="utf-8")


def _write_thresholds(
    file: Path, task: Task, labels: list[LabelResult], sha256: str | None, tuned_on: TunedOn
) -> None:
    thresholds = Thresholds(
        method=task.method.name,
        adapter_sha256=sha256,
        prompt=task.prompt.digest(),
        answer=task.answer and task.answer.digest(),
        thresholds={result.label: result.threshold for result in labels},
        tuned_on=tuned_on,
    )
    file.write_text(thresholds.to_json(), encoding="utf-8")


def _tuned_on(validation: Readings) -> TunedOn:
    digest = validation.digest()
    ids = [opinion.opinion_id for opinion in validation.opinions]
    opinions, texts = hashed_texts(ids, text_hashes(validation.texts(), digest))
    return TunedOn(
        data_digest=digest,
        opinions=len(validation),
        records=validation.records,
        opinion_hashes=opinions,
        text_hashes=texts,
    )


def _publish(work: Path, folder: Path) -> None:
    (folder / CARD).unlink(missing_ok=True)
    for name in _ORDER:
        if (work / name).is_file():
            (work / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    shutil.rmtree(work)
