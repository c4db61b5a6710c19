"""How fast an answer could be at most: the limit of the machine's matrix products.

An answer needs, for each prompt token that no reader before it has computed, one product with
every matrix of the layers, 2 floating-point operations a parameter; for each token that it
writes one with the output layer, and after the first one more with the layers. The machine's
rate for such products is measured with the shapes of the model's own layers, in the type that
the engine computes in. Limit: rate / operations an answer. Attention's own products, a few per
cent at a hundred tokens, are left out, so the limit is a little too high.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsent.engine import cpu

_STEP_TOKENS = {"cpu": 2048, "cuda": 8192}
_PASSES, _TIMES = 4, 8


@dataclass(frozen=True)
class Shape:
    """The matrices of a model, in parameters and by shape."""

    layers: list[tuple[int, int]]
    """Of one layer: inputs and outputs of each matrix."""
    number: int
    """Of layers."""
    output: tuple[int, int]

    @property
    def layer_parameters(self) -> int:
        """Parameters that each prompt token meets."""
        return self.number * sum(inputs * outputs for inputs, outputs in self.layers)

    @property
    def output_parameters(self) -> int:
        """Parameters that an answer's last token meets besides."""
        return self.output[0] * self.output[1]


def read_shape(model: Path) -> Shape:
    """Read the shapes of a Gemma 3 from its `config.json`."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    hidden, head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    inner = config["intermediate_size"]
    layers = [
        (hidden, queries + 2 * keys),
        (queries, hidden),
        (hidden, 2 * inner),
        (inner, hidden),
    ]
    return Shape(layers, config["num_hidden_layers"], (hidden, config["vocab_size"]))


class MatrixRate:
    """Measures products of a model's shapes, in a process of its own."""

    def measure(self, shape: Shape, device: str = "cpu", eight_bits: bool = False) -> float:
        """Return floating-point operations a second over a layer's products, the best of a few.

        With `eight_bits` both sides are FP8, as where vLLM quantises while it loads.
        What else runs on the machine makes it slower for a while, and never faster.
        """
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        on_gpu, tokens = device == "cuda", _STEP_TOKENS[device]
        dtype = "bfloat16" if on_gpu else cpu.compute_dtype("bfloat16")
        made = {"dtype": getattr(torch, dtype), "device": device}
        pairs = [
            (torch.randn(tokens, inputs, **made), torch.randn(outputs, inputs, **made))
            for inputs, outputs in shape.layers
        ]
        product = torch.nn.functional.linear
        if eight_bits:
            pairs = [tuple(side.to(torch.float8_e4m3fn) for side in pair) for pair in pairs]
            product = _product_of_eight_bits(device)
        wait = torch.cuda.synchronize if on_gpu else lambda: None
        operations = sum(2 * tokens * inputs * outputs for inputs, outputs in shape.layers)

        def seconds() -> float:
            began = time.monotonic()
            for _ in range(_PASSES):  # nothing waits between them, as in an engine's step
                for left, right in pairs:
                    product(left, right)
            wait()
            return time.monotonic() - began

        seconds()
        return _PASSES * operations / min(seconds() for _ in range(_TIMES))


def _product_of_eight_bits(device: str) -> Callable[[Any, Any], Any]:
    """Return the product as vLLM makes it: sums in the short form that the card is fastest in."""
    import torch

    one = torch.ones((), device=device)
    return lambda left, right: torch._scaled_mm(
        left,
        right.t(),
        scale_a=one,
        scale_b=one,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )


def operations(shape: Shape, computed_tokens: float, output_tokens: float = 1) -> float:
    """Return the floating-point operations of an answer with so many tokens of each kind.

    The last prompt token gives the first output token; each further one meets all layers too.
    """
    through_layers = computed_tokens + output_tokens - 1
    return 2 * (shape.layer_parameters * through_layers + shape.output_parameters * output_tokens)


def limit(
    shape: Shape, operations_per_s: float, computed_tokens: float, output_tokens: float = 1
) -> float:
    """Return answers a second at most, `computed_tokens` being those of one answer's prompt."""
    return operations_per_s / operations(shape, computed_tokens, output_tokens)
