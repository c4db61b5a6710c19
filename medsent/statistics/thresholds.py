"""Per-label decision thresholds: tuned for F1 on a validation split, and kept in a file."""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medsent.errors import ConfigError
from medsent.labels import LABELS

Floats = npt.NDArray[np.floating[Any]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TunedOn(_Strict):
    """The readings that thresholds were tuned on."""

    data_digest: str
    """sha256 of the readings' ids, texts, readers and gold."""
    opinions: int = Field(ge=1)
    records: int = Field(ge=1)
    opinion_hashes: str
    """Base64 of the sorted little-endian 64-bit hashes of the opinions' ids."""


class Thresholds(_Strict):
    """A thresholds file: from which probability on each label is given."""

    method: Literal["onepass", "bits"]
    """The answer method whose probabilities they cut."""
    tuned_for: Literal["f1"] = "f1"
    """What each label's threshold makes highest on the readings below."""
    adapter_sha256: str | None
    """Of the adapter's weights; null for the base model."""
    thresholds: dict[str, float]
    """Label to threshold: a record has the label where its probability is at least this."""
    tuned_on: TunedOn

    @field_validator("thresholds")
    @classmethod
    def _every_label(cls, cuts: dict[str, float]) -> dict[str, float]:
        if absent := [label for label in LABELS if label not in cuts]:
            raise ValueError(f"there is none for {', '.join(absent)}")
        if unknown := sorted(set(cuts) - set(LABELS)):
            raise ValueError(f"{', '.join(unknown)} is no label")
        for label in LABELS:
            if not 0 <= cuts[label] <= 1:
                raise ValueError(f"{label} has {cuts[label]}, which is no probability")
        return {label: cuts[label] for label in LABELS}

    def shared_opinions(self, opinion_ids: Iterable[str]) -> int:
        """Return how many of these opinions the thresholds were tuned on."""
        tuned_on = np.frombuffer(base64.b64decode(self.tuned_on.opinion_hashes), dtype="<u8")
        return int(np.isin(_hashes(opinion_ids), tuned_on).sum())


def read_thresholds(path: str | Path) -> Thresholds:
    """Read a thresholds file. Raises `ConfigError` that names the file and what is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"thresholds: cannot read {path} ({error}); name a file that training wrote, "
            "or leave the setting out for 0.5"
        ) from error
    try:
        return Thresholds.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"thresholds: {path}, {where}: {first['msg']}") from error


def load_thresholds(path: str | Path) -> dict[str, float]:
    """Return label to threshold, all 21. Raises `ConfigError` like `read_thresholds`."""
    return read_thresholds(path).thresholds


def hashed_opinions(opinion_ids: Iterable[str]) -> str:
    """Return what `TunedOn.opinion_hashes` holds for these ids."""
    return base64.b64encode(_hashes(opinion_ids).tobytes()).decode()


def best_f1_thresholds(gold: Floats, probabilities: Floats) -> list[float]:
    """Return for each label the threshold that gives the highest F1; 0.5 where none can.

    `gold` (N, L) holds 0, 1 or NaN for missing; `probabilities` (N, L) may hold NaN.
    A threshold lies halfway between two neighbouring probabilities (below the lowest:
    halfway to 0), so that rounding does not move a record across it.
    """
    return [_best(gold[:, i], probabilities[:, i]) for i in range(gold.shape[1])]


def _best(gold: Floats, probabilities: Floats) -> float:
    known = ~(np.isnan(gold) | np.isnan(probabilities))
    truth, score = gold[known], probabilities[known].astype(np.float64)
    if not truth.any():
        return 0.5
    # More than a second to import, and every process of a job imports this module.
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(truth, score)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(np.argmax(f1[:-1]))
    below = cuts[best - 1] if best > 0 else 0.0
    halfway = (cuts[best] + below) / 2
    # Between two adjacent floats there is no halfway.
    return float(halfway if halfway > below else cuts[best])


def _hashes(opinion_ids: Iterable[str]) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in opinion_ids)
    return np.unique(np.frombuffer(digests, dtype="<u8"))
