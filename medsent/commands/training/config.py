"""The settings of `medsent train`, as read from its YAML file."""

from typing import Literal

from pydantic import Field, model_validator

from medsent.config.loader import Settings
from medsent.config.methods import MethodName

_MOST_EVALUATED = 8


class TrainingModel(Settings):
    """The model an adapter is trained for."""

    source: str
    """A hub id, a folder, or `builtin:gemma-3-270m`."""
    revision: str | None = None
    """Of a hub's model: a commit, branch or tag; the newest where null. Checkpoints keep to the
    content they were trained on."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """The frozen weights' type; the adapter itself is trained in float32."""
    quantization: Literal["nf4"] | None = None
    """`nf4` holds the frozen weights of the layers in 4 bits (QLoRA, by bitsandbytes, from the
    extra `train`): a quarter of their memory for a little noise. The adapter serves on the
    unquantised model."""


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
    gradient_accumulation: int = Field(default=1, ge=1)
    """Passes that a step's opinions are split into, for less memory. It may change between the
    sessions of one training: the result stays the same up to rounding and, with
    `lora.dropout` above 0, up to the random draws, which each pass makes for itself."""
    gradient_checkpointing: bool = False
    """Keep only each layer's input and recompute the rest in the backward pass: less memory for
    a pass, which takes longer, and the same result."""
    epochs: float = Field(default=1.0, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    """A budget of wall-clock minutes: the cosine reaches zero at its end, if epochs last longer.
    With a budget the result depends on the machine's speed, so a seed no longer repeats it."""
    max_grad_norm: float = 1.0
    checkpoints: int = Field(default=40, ge=1)
    """How many times to save on the way, at equal shares of the training."""
    evaluations: int = Field(default=5, ge=1)
    """How many times to evaluate on a part of validation on the way."""

    @model_validator(mode="after")
    def _even_passes(self) -> "OptimiserSettings":
        if self.opinions_per_step % self.gradient_accumulation:
            raise ValueError(
                f"opinions_per_step ({self.opinions_per_step}) must be a multiple of "
                f"gradient_accumulation ({self.gradient_accumulation})"
            )
        return self

    @property
    def opinions_per_pass(self) -> int:
        """How many opinions are in memory at a time."""
        return self.opinions_per_step // self.gradient_accumulation

    @property
    def opinions_per_evaluation(self) -> int:
        """How many opinions are in memory at a time in evaluation, which needs no backward pass."""
        return min(_MOST_EVALUATED, 2 * self.opinions_per_pass)


class TrainingConfig(Settings):
    """One training of one adapter."""

    name: str
    model: TrainingModel
    method: MethodName = "onepass"
    prompt: str | None = None
    """A prompt file; where null that of `start_from`, if it was trained for the same method, else
    the method's own."""
    answer: str | None = None
    """An answer file, for method `json`; where null that of `start_from`, else the one that
    ships."""
    labels: str | None = None
    """A label file; where null that of `start_from`, else the 21 that ship."""
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
    """An adapter's folder to go on from, for targeted fine-tuning; of the same labels."""
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; all cores where not given."""
    note: str | None = None
    """Goes on the model card, for instance that the data are synthetic."""

    @model_validator(mode="after")
    def _only_json(self) -> "TrainingConfig":
        if self.answer is not None and self.method != "json":
            raise ValueError(f"answer goes with method json, not with {self.method}")
        return self
