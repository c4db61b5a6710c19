"""What an engine takes of a device's memory beside its model, and how to make that less."""

from dataclasses import dataclass, replace
from typing import Any, Final

_FEWEST_SEQS: Final = 16
_FEWEST_TOKENS: Final = 1024
_LEAST_OF_GPU: Final = 0.5
"""Below these a smaller engine would be slow, and free next to nothing."""


@dataclass(frozen=True)
class Footprint:
    """The settings that decide an engine's memory; None for one that its kind does not have."""

    max_num_seqs: int
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_gib: int | None = None
    """On a CPU."""

    def smaller(self, *, for_cache: bool = False) -> "Footprint | None":
        """Return smaller settings that may fit where these did not; None if none is worth a try.

        Starting an engine takes minutes, so each step down is a large one. `for_cache` says that
        model and largest batch left no room for the KV cache in the engine's part of a GPU: that
        part is then kept, as a smaller one would leave even less.
        """
        tokens, part, cache = self.max_num_batched_tokens, self.gpu_memory_utilization, None
        if tokens is None:
            less = replace(self, max_num_seqs=max(1, self.max_num_seqs // 2))
            return less if less != self else None
        if part is not None and not for_cache:
            # What a smaller batch frees goes to vLLM's cache; only a smaller part frees GPU memory.
            part = max(min(part, _LEAST_OF_GPU), round(part - 0.1, 2))
        if self.kv_cache_gib is not None:
            cache = max(1, self.kv_cache_gib // 2)
        seqs = _quarter(self.max_num_seqs, _FEWEST_SEQS)
        less = Footprint(seqs, _quarter(tokens, _FEWEST_TOKENS), part, cache)
        return less if less != self else None

    def arguments(self) -> dict[str, Any]:
        """Return these settings as arguments of vLLM's engine."""
        names = ("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def remedy(self) -> str:
        """What a user can do where the least of them did not fit."""
        if self.gpu_memory_utilization is not None:
            return (
                "it takes GPUs with more memory, several for one engine "
                "(model.tensor_parallel_size), or a quantised model"
            )
        if self.kv_cache_gib is not None:
            return "it takes a machine with more memory, fewer engines on it, or a smaller model"
        return "lower engine.max_num_seqs"

    def __str__(self) -> str:
        told = f"{self.max_num_seqs} sequences"
        if self.max_num_batched_tokens is not None:
            told += f" and {self.max_num_batched_tokens} tokens"
        told += " at a time"
        if self.gpu_memory_utilization is not None:
            told += f", {self.gpu_memory_utilization:g} of the GPU's memory"
        if self.kv_cache_gib is not None:
            told += f", {self.kv_cache_gib} GiB of KV cache"
        return told


def _quarter(number: int, least: int) -> int:
    return max(min(number, least), number // 4)
