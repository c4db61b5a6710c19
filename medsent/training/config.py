"""The settings of `medsent train`, as read from its YAML file."""

from typing import Literal

from pydantic import Field, field_validator

from medsent.labels import LABEL_INDEX
from medsent.settings import Settings


class TrainingModel(Settings):
    """The model an adapter is trained for."""

    source: str
    """A hub id, a folder, or `builtin:gemma-3-270m`."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """The frozen weights' type; the adapter itself is trained in float32."""


class TrainingData(Settings):
    """Labelled shards; opinions must not stand in both."""

    train: str
    validation: str
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name to yours, as in an evaluation's `input.columns`."""


class LoraSettings(Settings):
    """The adapter's shape."""

    rank: int = Field(default=16, ge=1)
    alpha: float = 32
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj"]


class OptimiserSettings(Settings):
    """AdamW with warm-up, then a cosine to zero."""

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = 0.0
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the training spent warming up."""
    opinions_per_step: int = Field(default=4, ge=1)
    epochs: float = Field(default=1.0, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    """A budget of wall-clock minutes: the cosine reaches zero at its end, if epochs last longer.
    With a budget the result depends on the machine's speed, so a seed no longer repeats it."""
    max_grad_norm: float = 1.0
    checkpoints: int = Field(default=40, ge=1)
    """How many times to save on the way, at equal shares of the training."""
    evaluations: int = Field(default=5, ge=1)
    """How many times to evaluate on a part of validation on the way."""


class TrainingConfig(Settings):
    """One training of one adapter."""

    name: str
    model: TrainingModel
    method: Literal["onepass", "json", "bits"] = "onepass"
    data: TrainingData
    output: str
    """The adapter's folder."""
    checkpoints: str | None = None
    """Where checkpoints go while it trains; `checkpoints` in the adapter's folder where null."""
    personas: str | None = None
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    label_weights: dict[str, float] = Field(default_factory=dict)
    """Label to the weight of its loss (1 where not named), for fine-tuning weak labels."""
    start_from: str | None = None
    """An adapter's folder to go on from, for targeted fine-tuning."""
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; all cores where not given."""
    note: str | None = None
    """Goes on the model card, for instance that the data are synthetic."""

    @field_validator("label_weights")
    @classmethod
    def _known_labels(cls, weights: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(weights) - set(LABEL_INDEX))
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is no label")
        return weights
