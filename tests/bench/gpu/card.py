"""The device: its name, what its vendor states, and what its matrix products reach."""

from dataclasses import dataclass
from typing import Final

from tests.bench.limit import MatrixRate, Shape

_STATED: Final[dict[str, tuple[float, float | None]]] = {
    "A10": (125, None),
    "A100": (312, None),
    "B200": (2250, 4500),
    "H100": (989, 1979),
    "H100 NVL": (835, 1671),
    "H100 PCIe": (756, 1513),
    "H200": (989, 1979),
    "H200 NVL": (835, 1671),
    "L4": (121, 242),
    "L40": (181, 362),
    "L40S": (362, 733),
}
"""Words of a card's name to the dense TFLOP/s of NVIDIA's data sheets in bf16 and FP8, None where
it has no FP8. Data sheets that state rates "with sparsity" are halved."""

_PARTITIONED: Final = "MIG"


@dataclass(frozen=True)
class Rates:
    """Floating-point operations a second; None where unknown."""

    bf16: float | None
    fp8: float | None

    def of(self, eight_bits: bool) -> float | None:
        """Return the rate of weights of 8 or of 16 bits."""
        return self.fp8 if eight_bits else self.bf16


def stated_rates(name: str) -> Rates:
    """Return the vendor's rates of a card by the name that CUDA gives it."""
    words = set(name.replace("-", " ").split())
    known = [card for card in _STATED if set(card.split()) <= words]
    if not known or _PARTITIONED in words:
        return Rates(None, None)
    bf16, fp8 = _STATED[max(known, key=len)]
    return Rates(bf16 * 1e12, None if fp8 is None else fp8 * 1e12)


class Card:
    """Asks the device, in a process of its own that leaves its memory free afterwards."""

    def __init__(self, device: str) -> None:
        """`device` is torch's name of it: `cuda` or `cpu`."""
        self._device = device

    def name(self) -> str:
        """Return what CUDA calls the card, with its memory."""
        import torch

        if self._device != "cuda":
            return "no GPU"
        return str(torch.cuda.get_device_name(0))

    def memory_gib(self) -> float | None:
        """Return the card's memory."""
        import torch

        if self._device != "cuda":
            return None
        return round(torch.cuda.get_device_properties(0).total_memory / 1024**3, 1)

    def rates(self, shape: Shape) -> Rates:
        """Return the rates of the model's matrix products; FP8 is None where the card has none."""
        measure = MatrixRate().measure
        bf16 = measure(shape, self._device)
        try:
            return Rates(bf16, measure(shape, self._device, eight_bits=True))
        except (RuntimeError, NotImplementedError, ValueError):
            return Rates(bf16, None)

    def quantization(self) -> str:
        """Return the installed vLLM's name for FP8 weights that it makes while it loads."""
        from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

        return next(name for name in ("fp8_per_channel", "fp8") if name in QUANTIZATION_METHODS)
