"""What a LoRA adds to a model's weights, read from its folder without the model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medsent.errors import AdapterError
from medsent.models.adapter import WEIGHTS, Adapter
from medsent.models.lora import own_name, read_pairs, setting_of

if TYPE_CHECKING:
    from torch import Tensor

_PLAIN = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "exclude_modules",
    "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha",
    "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r",
    "rank_pattern", "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
"""Settings of peft that may have any value: the LoRA is still the sum below. Any other setting that
is not at its default makes it something else."""
_SUMMED = ("float64", "float32", "float16", "bfloat16")
"""The types of weights that a LoRA can be added to; types of fewer bits also have scales."""


@dataclass(frozen=True)
class Delta:
    """What is added to one module's weight."""

    adapter: str
    down: "Tensor"
    """(rank, in), lora_A."""
    up: "Tensor"
    """(out, rank), lora_B."""
    scale: float

    def added_to(self, weight: "Tensor") -> "Tensor":
        """Return the sum in the weight's own type, computed in float32 so that it rounds once.

        Raises `AdapterError` where a shape does not fit or the sum is not finite.
        """
        kind = str(weight.dtype).removeprefix("torch.")
        if weight.shape != (len(self.up), self.down.shape[1]) or kind not in _SUMMED:
            raise AdapterError(
                f"--adapter: {self.adapter} does not fit a weight of the model, which is "
                f"{weight.dtype} of shape {tuple(weight.shape)}"
            )
        total = (weight.float() + (self.up.float() @ self.down.float()) * self.scale).to(
            weight.dtype
        )
        if not total.isfinite().all():
            raise AdapterError(f"--adapter: {self.adapter} makes weights that are not finite")
        return total


def read_deltas(adapter: Adapter) -> dict[str, Delta]:
    """Return what the adapter adds, by the module's name as `own_name` gives it.

    Raises `AdapterError` for a kind of LoRA that is no plain sum.
    """
    from peft import LoraConfig
    from safetensors.torch import load_file

    try:
        config: Any = LoraConfig.from_pretrained(str(adapter.folder))
    except (OSError, TypeError, ValueError) as error:
        raise AdapterError(
            f"--adapter: {adapter.source}: its settings cannot be read: {error}"
        ) from error
    _refuse_other_kinds(adapter.source, config)
    name = f"--adapter: {adapter.source}"
    tensors = load_file(adapter.folder / WEIGHTS)
    deltas = {}
    for pair in read_pairs(name, (adapter.folder / WEIGHTS).read_bytes()):
        down, up = tensors[pair.down.name], tensors[pair.up.name]
        scale = _scale(name, config, pair.module, pair.rank)
        deltas[own_name(pair.module)] = Delta(adapter.source, down, up, scale)
    return deltas


def _refuse_other_kinds(source: str, config: Any) -> None:
    plain = vars(type(config)())
    other = [key for key in sorted(plain.keys() - _PLAIN) if getattr(config, key) != plain[key]]
    if other:
        raise AdapterError(
            f"--adapter: {source} is a LoRA with {other[0]}, which cannot be merged here; "
            "merge it with peft"
        )


def _scale(name: str, config: Any, module: str, rank: int) -> float:
    """Return the library's factor for one module."""
    alpha = setting_of(name, module, vars(config), "alpha_pattern", config.lora_alpha)
    return float(alpha / (rank**0.5 if config.use_rslora else rank))
