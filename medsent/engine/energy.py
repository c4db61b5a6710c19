"""The energy that GPUs take, by the counter that NVIDIA's driver keeps of each."""

from collections.abc import Sequence
from typing import Any, Final

try:
    import pynvml
except ImportError:  # as on a CPU: it comes with vLLM for GPUs
    pynvml = None

_MILLI: Final = 1000


class EnergyMeter:
    """Counts from its creation on. Includes what other processes use on the same GPUs."""

    def __init__(self, gpus: Sequence[int | str]) -> None:
        """Count for GPUs, each given by its number or its id, as Ray names them."""
        self._handles = _handles(gpus)
        self._before = self._total()

    def joules(self) -> float | None:
        """Return what all of them took since; None where it cannot be measured."""
        now = self._total()
        if now is None or self._before is None or now < self._before:
            return None  # the counter begins anew where the driver is loaded again
        return now - self._before

    def _total(self) -> float | None:
        """Return the joules since the driver was loaded."""
        if not self._handles:
            return None
        try:
            each = [pynvml.nvmlDeviceGetTotalEnergyConsumption(one) for one in self._handles]
        except pynvml.NVMLError:  # an older card, or a part of one
            return None
        return float(sum(each)) / _MILLI


def _handles(gpus: Sequence[int | str]) -> list[Any]:
    if pynvml is None or not gpus:
        return []
    try:
        pynvml.nvmlInit()
        return [
            pynvml.nvmlDeviceGetHandleByIndex(int(gpu))
            if str(gpu).isdigit()
            else pynvml.nvmlDeviceGetHandleByUUID(str(gpu))
            for gpu in gpus
        ]
    except pynvml.NVMLError:  # no driver, or another name for the GPU
        return []
