"""Per-label decision thresholds: tuned on a validation split, and kept in a file."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from medsent.config.loader import Settings
from medsent.config.methods import MethodName
from medsent.errors import ConfigError
from medsent.input.texts import NO_TEXT
from medsent.reducer.weights import opinion_keys
from medsent.storage.paths import AnyPath, any_path

Floats = npt.NDArray[np.floating[Any]]
Hashes = npt.NDArray[np.uint64]
Truth = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

NEUTRAL: Final = 0.5
"""The threshold of a label that nothing was tuned for."""
WITHHELD: Final = 1.0
"""The threshold of a label whose precision would be below the floor at any: only a probability
of exactly 1 is given it."""


class TunedRun(Settings):
    """The run whose probabilities thresholds were tuned on."""

    name: str
    fingerprint: str
    variant: str


class TunedOn(Settings):
    """The readings that thresholds were tuned on."""

    data_digest: str
    """sha256 of the readings' ids, texts, readers and gold; a run's has no texts in it."""
    opinions: int = Field(ge=1)
    records: int = Field(ge=1)
    opinion_hashes: str
    """Base64 of the sorted little-endian 64-bit hashes of the opinions' ids."""
    text_hashes: str | None = None
    """The same of the opinions' texts, in the order of `opinion_hashes`, with `data_digest` as the
    key; 0 for a text that cannot be recognised. Null where the texts were not available."""
    run: TunedRun | None = None
    """Null where training tuned them."""

    @field_validator("opinion_hashes", "text_hashes")
    @classmethod
    def _whole(cls, hashes: str | None) -> str | None:
        try:
            _decoded(hashes or "")
        except ValueError:
            raise ValueError("these are no hashes of opinions") from None
        return hashes

    @model_validator(mode="after")
    def _in_pairs(self) -> "TunedOn":
        if len(self._texts) != len(_decoded(self.opinion_hashes)):
            raise ValueError("text_hashes: there is not one for each of opinion_hashes")
        return self

    @property
    def hashes(self) -> Hashes:
        """The hashes of the opinions' ids, (K,), sorted and distinct."""
        return np.unique(_decoded(self.opinion_hashes))

    @property
    def recognised(self) -> Hashes:
        """The hashes of the texts that can be recognised, sorted and distinct."""
        return np.setdiff1d(self._texts, [np.uint64(NO_TEXT)])

    @property
    def _texts(self) -> Hashes:
        """The hash of the text of each of `opinion_hashes`."""
        if self.text_hashes is None:
            return np.full(len(_decoded(self.opinion_hashes)), NO_TEXT, np.uint64)
        return _decoded(self.text_hashes)

    def shared(self, found: Hashes) -> tuple[int, int]:
        """Return how many opinions have their id or text among some hashes; and how many by text.

        The second are those whose id is not among them.
        """
        ids = _decoded(self.opinion_hashes)
        by_id, by_text = np.isin(ids, found), np.isin(self._texts, found)
        every = len(np.unique(ids[by_id | (by_text & (self._texts != NO_TEXT))]))
        return every, every - len(np.unique(ids[by_id]))

    def without(self, opinion_ids: Iterable[str]) -> "TunedOn":
        """Return a copy without the hashes of some opinions' ids and of their texts."""
        return self._left(~np.isin(_decoded(self.opinion_hashes), hash_opinions(opinion_ids)))

    def forgetting(self, before: "TunedOn") -> "TunedOn":
        """Return it without the opinions that were erased from `before`, another copy of it."""
        if self.data_digest != before.data_digest:
            return self  # it is no copy
        return self._left(np.isin(_decoded(self.opinion_hashes), before.hashes))

    def _left(self, left: Truth) -> "TunedOn":
        texts = None if self.text_hashes is None else encode_hashes(self._texts[left])
        ids = encode_hashes(_decoded(self.opinion_hashes)[left])
        return self.model_copy(update={"opinion_hashes": ids, "text_hashes": texts})


class Thresholds(Settings):
    """A thresholds file: from which probability on each label is given."""

    method: MethodName
    """The answer method whose probabilities they cut."""
    tuned_for: Literal["f1", "precision"] = "f1"
    """`f1`: each label's is the one with the highest F1 on the readings below; `precision`: the
    lowest with a precision of at least the floor."""
    precision_floor: float | None = Field(None, gt=0, le=1)
    """Given where they are tuned for precision."""
    untuned: list[str] = Field(default_factory=list)
    """Labels of which the readings tell no threshold; theirs is 0.5, or 1 with a floor."""
    adapter_sha256: str | None
    """Of the adapter's weights; null for the base model."""
    prompt: str | None = None
    """sha256 of the prompt file that the readings were asked by; null where that is not known."""
    answer: str | None = None
    """sha256 of the answer file they were asked by; null where there was none."""
    thresholds: dict[str, float] = Field(min_length=1)
    """Label to threshold: a record has the label where its probability is at least this."""
    tuned_on: TunedOn

    @field_validator("thresholds")
    @classmethod
    def _shares(cls, cuts: dict[str, float]) -> dict[str, float]:
        for label, cut in cuts.items():
            if not 0 <= cut <= 1:
                raise ValueError(f"{label} has {cut}, which is no probability")
        return cuts

    @model_validator(mode="after")
    def _floor(self) -> "Thresholds":
        if (self.precision_floor is not None) != (self.tuned_for == "precision"):
            raise ValueError("precision_floor goes with tuned_for: precision, and only with it")
        return self

    def to_json(self) -> str:
        """Return what the file holds."""
        return self.model_dump_json(indent=1) + "\n"

    def check_labels(self, names: Sequence[str], file: str = "the thresholds file") -> None:
        """Raise `ConfigError` that names the labels the file lacks, or has beside these.

        `file` is how to call it.
        """
        wrong = []
        if absent := [name for name in names if name not in self.thresholds]:
            wrong.append(f"there is none for {', '.join(absent)}")
        if unknown := [name for name in self.thresholds if name not in names]:
            wrong.append(f"no label is called {', '.join(unknown)}")
        if wrong:
            raise ConfigError(
                f"{file} is of other labels than the job: {'; '.join(wrong)}. Name one that was "
                "tuned on a run of the same label file"
            )


def read_thresholds(path: str | AnyPath) -> Thresholds:
    """Read a thresholds file. Raises `ConfigError` that names the file and what is wrong."""
    try:
        text = any_path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"thresholds: cannot read {path} ({error}); name a file that `medsent thresholds` or "
            "training wrote, or leave the setting out for 0.5"
        ) from error
    try:
        return Thresholds.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"thresholds: {path}, {where}: {first['msg']}") from error


def hash_opinions(opinion_ids: Iterable[str]) -> Hashes:
    """Return the opinions' hashes, (K,), sorted and distinct."""
    return np.unique(opinion_keys(opinion_ids))


def encode_hashes(hashes: Hashes) -> str:
    """Return what `TunedOn.opinion_hashes` holds for these."""
    return base64.b64encode(hashes.astype("<u8").tobytes()).decode()


def hashed_opinions(opinion_ids: Iterable[str]) -> str:
    """Return what `TunedOn.opinion_hashes` holds for these ids."""
    return encode_hashes(hash_opinions(opinion_ids))


def hashed_texts(opinion_ids: Sequence[str], texts: Hashes) -> tuple[str, str]:
    """Return what `TunedOn` holds of N opinions and of the hashes of their texts, (N,).

    An opinion may stand there with several texts.
    """
    pairs = np.unique(np.stack([opinion_keys(opinion_ids), texts], axis=1), axis=0)
    return encode_hashes(pairs[:, 0]), encode_hashes(pairs[:, 1])


@dataclass(frozen=True)
class Tuning:
    """One label's threshold, and what it does on the readings it was tuned on."""

    threshold: float
    tuned: bool
    """False where the readings tell no threshold, and it is `NEUTRAL` or `WITHHELD`."""
    positives: int
    precision: float | None
    """None where the label is given to no reading."""
    recall: float | None
    """None where no reading has the label."""
    f1: float | None
    """None where neither is."""


def tune(gold: Floats, probabilities: Floats, floor: float | None = None) -> list[Tuning]:
    """Return each label's threshold: the one with the best F1, or the lowest that meets the floor.

    `gold` (N, L) holds 0, 1 or NaN for missing; `probabilities` (N, L) may hold NaN. Without
    positives no threshold can be tuned by F1, and the label keeps `NEUTRAL`. With a floor such a
    label gets `WITHHELD`, as does one that no threshold makes precise enough: whoever asks for
    precision would rather miss a label than get it wrongly.
    """
    return [_tuned(gold[:, i], probabilities[:, i], floor) for i in range(gold.shape[1])]


def best_f1_thresholds(gold: Floats, probabilities: Floats) -> list[float]:
    """Return for each label the threshold that gives the highest F1; 0.5 where none can.

    `gold` (N, L) holds 0, 1 or NaN for missing; `probabilities` (N, L) may hold NaN.
    A threshold lies halfway between two neighbouring probabilities (below the lowest:
    halfway to 0), so that rounding does not move a record across it.
    """
    found = [_best(*_known(gold[:, i], probabilities[:, i])) for i in range(gold.shape[1])]
    return [NEUTRAL if cut is None else cut for cut in found]


def _tuned(gold: Floats, probabilities: Floats, floor: float | None) -> Tuning:
    truth, score = _known(gold, probabilities)
    cut = _best(truth, score) if floor is None else _lowest(truth, score, floor)
    instead = NEUTRAL if floor is None else WITHHELD
    threshold = instead if cut is None else cut
    given = score >= threshold
    right, said, real = int((truth & given).sum()), int(given.sum()), int(truth.sum())
    return Tuning(
        threshold=threshold,
        tuned=cut is not None,
        positives=real,
        precision=right / said if said else None,
        recall=right / real if real else None,
        f1=2 * right / (said + real) if said or real else None,
    )


def _known(gold: Floats, probabilities: Floats) -> tuple[Truth, Scores]:
    """Return one label's truth and probability where both are known, (K,) each."""
    known = ~(np.isnan(gold) | np.isnan(probabilities))
    return gold[known] == 1, probabilities[known].astype(np.float64)


def _best(truth: Truth, score: Scores) -> float | None:
    if not truth.any():
        return None
    precision, recall, cuts = _curve(truth, score)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return _halfway(cuts, int(np.argmax(f1)))


def _lowest(truth: Truth, score: Scores, floor: float) -> float | None:
    if not truth.any():
        return None
    precision, _, cuts = _curve(truth, score)
    reached = np.flatnonzero(precision >= floor)
    return _halfway(cuts, int(reached[0])) if len(reached) else None


def _curve(truth: Truth, score: Scores) -> tuple[Scores, Scores, Scores]:
    """Return precision and recall from each distinct probability on, rising."""
    # More than a second to import, and every process of a job imports this module.
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(truth, score)
    return precision[:-1], recall[:-1], cuts  # the last point is of a threshold above all


def _halfway(cuts: Scores, index: int) -> float:
    below = cuts[index - 1] if index > 0 else 0.0
    halfway = (cuts[index] + below) / 2
    # Between two adjacent floats there is no halfway.
    return float(halfway if halfway > below else cuts[index])


def _decoded(hashes: str) -> Hashes:
    return np.frombuffer(base64.b64decode(hashes, validate=True), dtype="<u8")
