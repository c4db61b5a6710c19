"""The last layer in 32 bits where an engine computes in 16.

A 16-bit logit has three digits, so that two thirds of the differences between labels would be
ties. vLLM computes logits in 32 bits where `head_dtype` says so. On a GPU that costs nothing.
vLLM's CPU backend would copy the whole layer in each step, which takes a third of a second for
the embedded model. So one copy is kept here, and multiplied by the processor's instructions that
multiply in 16 bits and add up in 32. Nothing is lost: weights and inputs have 16 bits at most.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

_SAID: Final = ("quantization_config", "compression_config")
_QUANTISED: Final = re.compile(r"(^|\.)lm_head\.(?!(weight|bias)$)")


def overrides(model: Path, config: dict[str, Any]) -> dict[str, str]:
    """Return what of vLLM's `hf_overrides` asks for 32 bits.

    Nothing where the checkpoint's last layer is quantised: vLLM would refuse to start.
    """
    text = config.get("text_config")
    parts = [config, text] if isinstance(text, dict) else [config]
    said = any(name in part for part in parts for name in _SAID)
    if said and any(map(_QUANTISED.search, _tensors(model))):
        return {}
    return {"head_dtype": "float32"}


def _tensors(model: Path) -> Iterator[str]:
    """Yield the names of a checkpoint's tensors, from its index or else its files' headers."""
    try:
        for path in model.glob("*.safetensors.index.json"):
            yield from json.loads(path.read_text(encoding="utf-8"))["weight_map"]
            return
        for path in model.glob("*.safetensors"):
            with safe_open(path, framework="np") as tensors:
                yield from tensors.keys()
    except (OSError, ValueError, KeyError, SafetensorError):
        return  # whoever loads them says what is wrong


def register() -> None:
    """On a CPU, let vLLM's last layer use a kept copy in 32 bits; safe to call again."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.model_executor.layers.logits_processor import LogitsProcessor

    processor: Any = LogitsProcessor
    if processor._apply_head.__module__ != __name__:
        processor._apply_head = _kept(processor._apply_head)


def _kept(stock: Any) -> Any:
    def apply_head(self: Any, head: Any, hidden: Any, bias: Any) -> Any:
        """Return (tokens, words) logits of `hidden`, (tokens, width)."""
        import torch

        weight = getattr(head, "weight", None)
        if weight is None or self.head_dtype != torch.float32 or hidden.dtype == torch.float32:
            return stock(self, head, hidden, bias)
        if not weight.numel():  # vLLM has packed it for products of 16 bits, and kept no other
            return head.quant_method.apply(head, hidden, bias=bias)
        if not hasattr(head, "weight_of_32_bits"):
            head.weight_of_32_bits = weight.detach().float()
        bias = None if bias is None else bias.float()
        with _products_of(weight.dtype):
            return torch.nn.functional.linear(hidden.float(), head.weight_of_32_bits, bias)

    return apply_head


@contextmanager
def _products_of(dtype: Any) -> Iterator[None]:
    """Let products of 32-bit matrices take the processor's for bfloat16, if that is what they hold.

    float16 has more digits, which these would cut off.
    """
    import torch

    precise: Any = torch.backends.mkldnn
    before = precise.matmul.fp32_precision
    if dtype == torch.bfloat16:
        precise.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        precise.matmul.fp32_precision = before
