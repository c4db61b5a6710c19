"""The documented random process behind the demo data: from cues to label probabilities.

`process.yaml` holds the formula and its constants. Because the process is known,
so is the true probability of each label, and with it the best reachable F1.
"""

from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from scipy.optimize import brentq
from scipy.special import expit

from medsent.config.labels import LABELS

Floats = npt.NDArray[np.float64]

_TWO_SENTENCES = 1.4
_MOODS = {"good": 0.42, "bad": 0.42, "mixed": 0.16}
_CUES_PER_OPINION = {2: 0.3, 3: 0.45, 4: 0.25}


class LabelProcess:
    """Draws cues for an opinion, and gives the probability of each label for a reader."""

    def __init__(self) -> None:
        text = files("medsent.demo").joinpath("process.yaml").read_text(encoding="utf-8")
        spec: dict[str, Any] = yaml.safe_load(text)
        self.cues: tuple[str, ...] = tuple(spec["weights"])
        self.personas: tuple[str, ...] = tuple(spec["personas"])
        self.scale: float = spec["scale"]
        self._prevalence = _label_row(spec["prevalence"])
        self._frequency = {
            mood: _normalised([spec["frequency"][cue][mood] for cue in self.cues])
            for mood in _MOODS
        }
        self._bias = spec["disagreement"] * np.stack(
            [_label_row(persona["bias"]) for persona in spec["personas"].values()]
        )
        self._weights = np.stack([self._persona_weights(spec, p) for p in self.personas])

    def _persona_weights(self, spec: dict[str, Any], persona: str) -> Floats:
        mine = spec["personas"][persona]
        extra, care = mine.get("extra", {}), mine["care"]
        rows = [
            care.get(cue, 1.0) * (_label_row(spec["weights"][cue]) + _label_row(extra.get(cue, {})))
            for cue in self.cues
        ]
        return np.stack(rows)

    def draw_cues(self, rng: np.random.Generator) -> Floats:
        """Return the strength of each cue in one opinion, shape (cues,): 0, 1 or 1.4."""
        mood = rng.choice(list(_MOODS), p=list(_MOODS.values()))
        count = rng.choice(list(_CUES_PER_OPINION), p=list(_CUES_PER_OPINION.values()))
        chosen = rng.choice(len(self.cues), size=count, replace=False, p=self._frequency[mood])
        strengths = np.zeros(len(self.cues))
        strengths[chosen] = np.where(rng.random(count) < 0.25, _TWO_SENTENCES, 1.0)
        return strengths

    def probabilities(self, strengths: Floats) -> Floats:
        """Return P(label | cues, persona), (opinions, personas, labels), for (opinions, cues)."""
        return np.asarray(expit(self.scale * (self._raw_logits(strengths) + self._intercepts)))

    def _raw_logits(self, strengths: Floats) -> Floats:
        return np.asarray(np.einsum("oc,pcl->opl", strengths, self._weights) + self._bias)

    @cached_property
    def _intercepts(self) -> Floats:
        """Solve each label's intercept for its prevalence, over a fixed sample of opinions."""
        rng = np.random.default_rng(0)
        raw = self._raw_logits(np.stack([self.draw_cues(rng) for _ in range(4000)]))

        def excess(intercept: float, label: int) -> float:
            mean = expit(self.scale * (raw[..., label] + intercept)).mean()
            return float(mean - self._prevalence[label])

        return np.array([brentq(excess, -20, 20, args=(i,)) for i in range(len(LABELS))])


def _label_row(values: dict[str, float]) -> Floats:
    row = np.zeros(len(LABELS))
    for label, value in values.items():
        row[LABELS.index(label)] = value
    return row


def _normalised(values: list[float]) -> Floats:
    weights = np.asarray(values, dtype=np.float64)
    return np.asarray(weights / weights.sum())
