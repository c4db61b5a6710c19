"""A LoRA's pairs of matrices: are they whole and finite, and which modules do they change?"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from medsent.errors import AdapterError
from medsent.models.modules import NAMINGS, TEXT_NAMES, Modules, text_layer

_PREFIX = "base_model.model."
"""What peft puts before the model's own names."""
_HALF = re.compile(r"(.+)\.(lora_[AB])(\..+)?\.weight")
"""The third group, the adapter's name, is there where the state was saved just as in training."""
_BARE = re.compile(rf"({re.escape(_PREFIX)})?(layers\.\d+\..+)")
"""The name of a layer's tensor in a model without its head; vLLM has no rule for such names."""
_EXPONENTS = {"F64": 0x7FF << 52, "F32": 0xFF << 23, "F16": 0x1F << 10, "BF16": 0xFF << 7}
"""Floating type to the bits of its exponent: all are set in NaN and infinity alone."""
_UNSERVED = {
    r"\.lora_[AB]\.bias$": "has a bias (lora_bias), which vLLM cannot serve; train without it",
    r"lora_magnitude_vector": "is of DoRA, which vLLM cannot serve; train a plain LoRA",
    r"embed|lm_head|trainable_tokens": "changes the model's vocabulary (embeddings or lm_head), "
    "which is not served; train a plain LoRA of the layers",
    r"": "is no LoRA pair, and what is trained whole (modules_to_save) is not served; train a "
    "plain LoRA of the layers",
}
"""Pattern to why a tensor that is not half of a pair is refused; the first that matches counts."""
_OTHER_PARTS = re.compile(
    r"vision|visual|image|audio|speech|projector|connector|multi_modal|resampler"
)
"""What the parts of a multimodal model besides its text model are called; for messages alone."""
_ZERO3 = " (DeepSpeed ZeRO-3 saves it so where the weights are not gathered first)"
_KEPT = re.compile(r"(embed_tokens|lm_head)\.base_layer\.weight$")
"""Copies of the base model's own weights, which peft writes at times and vLLM passes over."""


@dataclass(frozen=True)
class Matrix:
    """A tensor of a file."""

    name: str
    shape: tuple[int, ...]
    kind: str
    data: bytes

    @property
    def is_zero(self) -> bool:
        """Whether all its numbers are zero."""
        # In every floating type 0 is all zero bytes; -0 has one byte with only the sign bit set.
        return not self.data.strip(b"\x00\x80")

    @property
    def is_finite(self) -> bool:
        """Whether none of its numbers is NaN or infinite."""
        exponent = _EXPONENTS[self.kind]
        width = len(self.data) // math.prod(self.shape)
        bits = np.frombuffer(self.data, f"<u{width}") & np.array(exponent, f"<u{width}")
        return not bool((bits == exponent).any())


@dataclass(frozen=True)
class Pair:
    """The two matrices of a module."""

    module: str
    """Its name in the file, without what peft puts before it."""
    down: Matrix
    """lora_A: rank x inputs."""
    up: Matrix
    """lora_B: outputs x rank."""

    @property
    def rank(self) -> int:
        """The size that both have."""
        return self.down.shape[0]


@dataclass(frozen=True)
class Binding:
    """What binding a LoRA to a model found."""

    rank: int
    """The highest of its modules."""
    targets: tuple[str, ...]
    """The last two parts of the names of the modules that it changes: `self_attn.q_proj`."""
    namings: tuple[str, ...]
    """The prefixes of the layers' names in the file: keys of `NAMINGS`."""
    unnamed: bool
    """Whether all tensors have names that vLLM knows: none has the adapter's own name in it, and
    none is that of a model without its head."""
    sized: bool
    """Whether the sizes of all its modules could be compared with the model's."""

    @property
    def trained_on(self) -> str:
        """What the names say the adapter was trained on, in words."""
        return " and ".join(NAMINGS[naming] for naming in self.namings) or "names of its own"


def read_pairs(name: str, content: bytes) -> list[Pair]:
    """Read whole, finite pairs from the bytes of a safetensors file.

    Raises `AdapterError`, which begins with `name`, where a tensor is anything else.
    """
    try:
        tensors = deserialize(content)
    except SafetensorError as error:
        raise AdapterError(f"{name} has no whole adapter_model.safetensors ({error})") from error
    halves: dict[str, dict[str, Matrix]] = {}
    for key, tensor in tensors:
        if _KEPT.search(key):
            continue
        module, half = _place(name, key)
        matrix = Matrix(key, tuple(tensor["shape"]), tensor["dtype"], bytes(tensor["data"]))
        _refuse_unsound(name, matrix)
        if half in halves.setdefault(module, {}):
            raise AdapterError(f"{name} holds {half} of {module} twice; write one adapter a file")
        halves[module][half] = matrix
    if not halves:
        raise AdapterError(f"{name} holds no tensors; the file is not a whole adapter{_ZERO3}")
    return [_pair(name, module, found) for module, found in halves.items()]


def plain_name(key: str) -> str:
    """Return a tensor's name as peft gives it to a model with its head, without the adapter's."""
    name = _HALF.sub(r"\1.\2.weight", key)
    bare = _BARE.fullmatch(name)
    return f"{bare[1] or ''}{TEXT_NAMES}{bare[2]}" if bare else name


def _place(name: str, key: str) -> tuple[str, str]:
    """Return a tensor's module, and which half of the pair it is: `lora_A` or `lora_B`."""
    if found := _HALF.fullmatch(key):
        return found[1].removeprefix(_PREFIX), found[2]
    reason = next(text for pattern, text in _UNSERVED.items() if re.search(pattern, key))
    raise AdapterError(f"{name} holds the tensor {key}, which {reason}")


def _refuse_unsound(name: str, matrix: Matrix) -> None:
    if 0 in matrix.shape or len(matrix.shape) != 2:
        shape = "x".join(map(str, matrix.shape))
        what = "is empty" if 0 in matrix.shape else "is no matrix"
        raise AdapterError(f"{name}: {matrix.name} {what} (its shape is [{shape}]){_ZERO3}")
    if matrix.kind not in _EXPONENTS:
        raise AdapterError(
            f"{name}: {matrix.name} is of type {matrix.kind}; save the adapter in float32, "
            "float16 or bfloat16"
        )
    if not matrix.is_finite:
        raise AdapterError(
            f"{name}: {matrix.name} holds NaN or infinity; training diverged, so train anew or "
            "take an earlier checkpoint"
        )


def _pair(name: str, module: str, found: dict[str, Matrix]) -> Pair:
    if len(found) != 2:
        raise AdapterError(
            f"{name} lacks one half of {own_name(module)}; the file is not a whole adapter"
        )
    pair = Pair(module, found["lora_A"], found["lora_B"])
    if pair.down.shape[0] != pair.up.shape[1]:
        raise AdapterError(
            f"{name}: the halves of {own_name(module)} have ranks {pair.down.shape[0]} and "
            f"{pair.up.shape[1]}; the file is not a whole adapter"
        )
    return pair


def bind(name: str, pairs: list[Pair], config: dict[str, Any], modules: Modules) -> Binding:
    """Bind pairs to a model's modules. `config` is `adapter_config.json`, with its rank `r`.

    Raises `AdapterError`, which begins with `name`, where one does not bind, has another size or
    another rank than the configuration says, or where all of them change nothing.
    """
    bound: set[str] = set()
    for pair in pairs:
        module = own_name(pair.module) if modules.layered else pair.module
        if module not in modules.sizes:
            raise AdapterError(f"{name} targets {module}, {_unbound(module, modules)}")
        if module in bound:
            raise AdapterError(f"{name} holds {module} twice, under different names")
        bound.add(module)
        _compare(name, module, pair, modules)
        _check_rank(name, pair, config)
    _refuse_idle(name, pairs, config)
    return Binding(
        rank=max(pair.rank for pair in pairs),
        targets=tuple(sorted({".".join(module.split(".")[-2:]) for module in bound})),
        namings=tuple(sorted({place[0] for pair in pairs if (place := text_layer(pair.module))})),
        unnamed=all(plain_name(pair.down.name) == pair.down.name for pair in pairs),
        sized=all(modules.sizes[module] for module in bound),
    )


def own_name(module: str) -> str:
    """Return the name of a text layer's module without the model's prefix; others unchanged."""
    place = text_layer(module)
    return place[1] if place else module


def _unbound(module: str, modules: Modules) -> str:
    """Say why a module is not among the model's."""
    if module.rpartition(".")[2] in ("lm_head", "embed_tokens"):
        return (
            "which belongs to the model's vocabulary (lm_head and the embeddings are mostly tied): "
            "that is not served; train a plain LoRA of the layers"
        )
    if _OTHER_PARTS.search(module):
        return (
            "which the model does not have in its text layers: it is of the part for images or "
            "sounds, and opinions are text; train without that part's layers"
        )
    if any(module.endswith(f".{known}") for known in modules.sizes):
        return (
            "which the model does not have under that name; load the adapter with peft on the "
            "model itself, not on a wrapper of it, and write it with save_pretrained"
        )
    return (
        "which the model does not have; it was trained for another model, or its target names "
        "match nothing"
    )


def _compare(name: str, module: str, pair: Pair, modules: Modules) -> None:
    mine, theirs = (pair.up.shape[0], pair.down.shape[1]), modules.sizes[module]
    if theirs and mine != theirs:
        raise AdapterError(
            f"{name}: {module} is {mine[0]}x{mine[1]}, the model's is {theirs[0]}x{theirs[1]}; "
            "it was trained for another model"
        )


def _check_rank(name: str, pair: Pair, config: dict[str, Any]) -> None:
    told = setting_of(name, pair.module, config, "rank_pattern", config["r"])
    if told != pair.rank:
        raise AdapterError(
            f"{name}: {own_name(pair.module)} has rank {pair.rank}, adapter_config.json says "
            f"{told!r}; the two files do not belong together"
        )


def setting_of(
    name: str, module: str, config: dict[str, Any], patterns: str, otherwise: object
) -> Any:
    """Return a module's own setting, as peft finds it: the first pattern that ends its name.

    Raises `AdapterError`, which begins with `name`, where the patterns cannot be read.
    """
    try:
        for pattern, value in (config.get(patterns) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
    except (AttributeError, re.error) as error:
        raise AdapterError(f"{name}: {patterns} in adapter_config.json cannot be read") from error
    return otherwise


def _refuse_idle(name: str, pairs: list[Pair], config: dict[str, Any]) -> None:
    """Raise `AdapterError` where no pair changes anything."""
    if all(pair.up.is_zero for pair in pairs):
        raise AdapterError(f"{name} changes nothing: every lora_B is zero; was it trained?")
    alphas = [
        setting_of(name, pair.module, config, "alpha_pattern", config.get("lora_alpha", 8))
        for pair in pairs
    ]
    for alpha in alphas:
        if (
            isinstance(alpha, bool)
            or not isinstance(alpha, int | float)
            or not math.isfinite(alpha)
        ):
            raise AdapterError(f"{name}: lora_alpha in adapter_config.json is {alpha!r}, no number")
    if not any(alphas):
        raise AdapterError(f"{name} changes nothing: lora_alpha is 0 in adapter_config.json")
    together = zip(pairs, alphas, strict=True)
    if not any(alpha and not pair.down.is_zero and not pair.up.is_zero for pair, alpha in together):
        raise AdapterError(
            f"{name} changes nothing: lora_A, lora_B or lora_alpha is zero in every module"
        )
