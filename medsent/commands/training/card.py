"""The model card: what an adapter is, what it was trained on and how, and how well it does."""

from dataclasses import dataclass
from importlib.metadata import version

from medsent import __version__
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.evaluation import LabelResult, macro_f1
from medsent.commands.training.task import Task
from medsent.models.source import BUILTIN

_LIBRARIES = ("torch", "transformers", "peft", "accelerate")
_GEMMA_TERMS = "https://ai.google.dev/gemma/terms"


@dataclass(frozen=True)
class SplitFacts:
    """A split, as the card names it."""

    path: str
    opinions: int
    records: int
    digest: str


@dataclass(frozen=True)
class Facts:
    """What a card states that the configuration does not."""

    train: SplitFacts
    validation: SplitFacts
    steps: int
    seconds: float
    loss: float
    baseline_loss: float
    base_digest: str
    architecture: str
    naming: str
    """Whose names the adapter's tensors have."""


def model_card(
    config: TrainingConfig,
    task: Task,
    facts: Facts,
    labels: list[LabelResult] | None,
    baseline: list[LabelResult] | None,
    adapter_sha256: str,
) -> str:
    """Return the card as Markdown; `labels` and `baseline` are None for a generated answer."""
    parts = [
        _front(config, facts),
        f"# {config.name}",
        _opening(config, task),
        *([config.note] if config.note else []),
        _asked(task),
        _data(facts),
        _recipe(config, task, facts),
        _validation(config, facts, labels, baseline),
        _hashes(facts, adapter_sha256),
        _licence(config, facts),
    ]
    return "\n\n".join(parts) + "\n"


def _front(config: TrainingConfig, facts: Facts) -> str:
    base = "google/gemma-3-270m" if config.model.source == BUILTIN else config.model.source
    licence = "gemma" if _is_gemma(facts) else "other"
    lines = [f"base_model: {base}", "library_name: peft", f"license: {licence}"]
    return "\n".join(["---", *lines, "tags: [lora, emotion, medical-opinions]", "---"])


def _opening(config: TrainingConfig, task: Task) -> str:
    return (
        f"A LoRA adapter (rank {config.lora.rank}) for `{config.model.source}`. It predicts which "
        f"of {len(task.labels)} labels a given reader would give to a patient's opinion, by the "
        f"answer method `{config.method}` of medsent. Trained by `medsent train`."
    )


def _asked(task: Task) -> str:
    files = [f"the prompt `prompt.yaml` (digest `{task.prompt.digest()}`)"]
    if task.answer:
        files.append(f"the answer file `answer.yaml` (digest `{task.answer.digest()}`)")
    return (
        f"It was trained with {' and '.join(files)}, about the labels of `labels.yaml`. The files "
        "lie beside it; a variant with this adapter asks by them where its job names no others."
    )


def _data(facts: Facts) -> str:
    rows = [
        f"| {name} | `{split.path}` | {split.opinions} | {split.records} | `{split.digest[:16]}` |"
        for name, split in (("train", facts.train), ("validation", facts.validation))
    ]
    table = "| split | path | opinions | readings | sha256 of the content |\n|---|---|--:|--:|---|"
    return "\n".join(["## Data\n", table, *rows, "\nNo opinion is in both."])


def _recipe(config: TrainingConfig, task: Task, facts: Facts) -> str:
    lora, optimiser, quantised = config.lora, config.optimiser, config.model.quantization
    loss = (
        f"binary cross-entropy on the {len(task.labels)} label logits"
        if task.method.training == "logits"
        else "cross-entropy on the answer's tokens"
    )
    weights = ", ".join(f"{label} {weight:g}" for label, weight in config.label_weights.items())
    lines = [
        f"LoRA rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g} on "
        f"{', '.join(lora.targets)}",
        f"loss: {loss}; weights of labels: {weights or 'all 1'}",
        f"AdamW, learning rate {optimiser.learning_rate:g}, weight decay "
        f"{optimiser.weight_decay:g}, warm-up {optimiser.warmup:.0%}, then a cosine to zero",
        f"{facts.steps} steps of {optimiser.opinions_per_step} opinions with all their readers, "
        f"{facts.seconds / 60:.0f} minutes, seed {config.seed}",
        *([f"started from `{config.start_from}`"] if config.start_from else []),
        *([f"the base model's layers in {quantised} (4 bits) while training"] if quantised else []),
        f"the tensors' names are those of {facts.naming}; medsent serves them on the text model "
        "and on the multimodal model around it",
    ]
    return "\n".join(["## Recipe\n", *(f"- {line}" for line in lines)])


def _validation(
    config: TrainingConfig,
    facts: Facts,
    labels: list[LabelResult] | None,
    baseline: list[LabelResult] | None,
) -> str:
    losses = f"Loss {facts.loss:.4f} (base model {facts.baseline_loss:.4f})."
    if labels is None or baseline is None:
        return (
            f"## Result on validation\n\n{losses} The F1 of generated answers is measured by "
            "`medsent evaluate`."
        )
    head = (
        "| label | positives | base F1 | F1 | precision | recall | threshold |\n"
        "|---|--:|--:|--:|--:|--:|--:|"
    )
    rows = [
        f"| {own.label} | {own.positives} | {base.f1:.3f} | {own.f1:.3f} | {own.precision:.3f} "
        f"| {own.recall:.3f} | {own.threshold:.3f} |"
        for own, base in zip(labels, baseline, strict=True)
    ]
    macro = f"| **macro** | | {macro_f1(baseline):.3f} | {macro_f1(labels):.3f} | | | |"
    words = (
        f"{losses} Thresholds (`thresholds.json`, and `thresholds-baseline.json` for the base "
        "model) are tuned for F1 on these same readings, so the figures flatter both; judge by "
        "a test split."
    )
    return "\n".join(["## Result on validation\n", words, "", head, *rows, macro])


def _hashes(facts: Facts, adapter_sha256: str) -> str:
    versions = ", ".join(
        [f"medsent {__version__}", *(f"{name} {version(name)}" for name in _LIBRARIES)]
    )
    return (
        "## Provenance\n\n"
        f"- adapter (`adapter_model.safetensors`, bfloat16): sha256 `{adapter_sha256}`\n"
        f"- base model's weights: `{facts.base_digest}`\n"
        f"- {versions}"
    )


def _licence(config: TrainingConfig, facts: Facts) -> str:
    if _is_gemma(facts):
        return (
            "## Licence\n\nThese weights are a derivative of Gemma. Gemma is provided under and "
            f"subject to the Gemma Terms of Use found at {_GEMMA_TERMS}, which apply to this "
            "adapter too."
        )
    return (
        f"## Licence\n\nThese weights are a derivative of `{config.model.source}`; its licence "
        "applies to them."
    )


def _is_gemma(facts: Facts) -> bool:
    return facts.architecture.startswith("gemma")
