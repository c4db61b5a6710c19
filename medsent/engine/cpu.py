"""Settings with which vLLM is fast and steady on a CPU."""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any, Final

_CPU_INFO: Final = Path("/proc/cpuinfo")
_FAST_BFLOAT16: Final = {"avx512bw", "bf16"}
"""Features of x86 and of ARM, one of which oneDNN needs for products of 16 bits."""
_FOUR: Final = 4
_NO_KERNEL: Final = {"fp8", "fp8_per_tensor", "humming", "mxfp4", "mxfp8"}
"""Methods that quantise as the weights are loaded, and that were tried on a CPU in vain."""
_KEPT_MEMORY: Final = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Make glibc keep freed memory. The matrices of an engine's step take hundreds of MiB; returning
and requesting them each time costs a million page faults in half a minute. With this the
embedded model's engine takes 5.7 GB instead of 5.5."""


def installed(package: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def compute_dtype(dtype: str, cpu_info: Path = _CPU_INFO, *, in_16_bits: bool = False) -> str:
    """Return the type in which an engine on this CPU computes: `float32` where 16 bits are slow.

    Without hardware support torch multiplies 16-bit matrices on one core and without vector
    instructions, seven times slower than 32-bit ones. float32 holds every 16-bit weight exactly.
    `in_16_bits` is for quantised weights, which can be multiplied in 16 bits only.
    """
    if dtype == "float32" or in_16_bits or is_fast_in_16_bits(cpu_info):
        return dtype
    return "float32"


def is_fast_in_16_bits(cpu_info: Path = _CPU_INFO) -> bool:
    """Tell whether this CPU has instructions for products of 16 bits."""
    return bool(_FAST_BFLOAT16 & _features(cpu_info))


def missing_kernel(
    method: str,
    held: Mapping[str, Any] | None,
    cpu_info: Path = _CPU_INFO,
    *,
    adapters: bool = False,
) -> str | None:
    """Return what vLLM's CPU build is known to lack for quantised weights; None for nothing.

    `method` is vLLM's name, `held` what the checkpoint's `config.json` says of its weights. vLLM
    itself finds out only as it loads them. All cases were tried with a small model and an adapter,
    except GPTQ in 8 bits (no kernel takes the type) and a CPU without AVX-512 (vLLM's build for it
    has no 4-bit product).
    """
    features = _features(cpu_info)
    if held is None or method == "humming":
        if method in _NO_KERNEL or (method == "fp8_per_block" and "amx_tile" not in features):
            return f"{method} has no kernel on this CPU (fp8_per_channel has)"
        return None
    bits = _packed_bits(held)
    if bits not in (None, _FOUR):
        return f"packed weights of {bits} bits have no kernel on a CPU"
    if bits == _FOUR and "avx2" in features and "avx512bw" not in features:
        return "packed weights of 4 bits have no kernel on a CPU without AVX-512"
    if _in_blocks(held) and "amx_tile" not in features:
        return "weights of 8 bits in blocks have no kernel on a CPU without AMX"
    if adapters and held.get("format") == "int-quantized":
        return "integers of 8 bits cannot have an adapter beside them on a CPU"
    return None


def _packed_bits(held: Mapping[str, Any]) -> int | None:
    """Return the bits of a weight that stands packed in a checkpoint; None where none does."""
    if held.get("format") == "pack-quantized":
        found = (weights.get("num_bits") for weights in _weights(held))
        return min((bits for bits in found if isinstance(bits, int)), default=None)
    bits = held.get("bits", held.get("w_bit"))
    return bits if isinstance(bits, int) else None


def _in_blocks(held: Mapping[str, Any]) -> bool:
    every = _weights(held)
    return "weight_block_size" in held or any(w.get("strategy") == "block" for w in every)


def _weights(held: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what compressed-tensors says of the weights of each group of layers."""
    groups = held.get("config_groups")
    every = list(groups.values()) if isinstance(groups, Mapping) else []
    found = [group.get("weights") for group in every if isinstance(group, Mapping)]
    return [weights for weights in found if isinstance(weights, Mapping)]


def _features(cpu_info: Path) -> set[str]:
    return set(cpu_info.read_text(encoding="utf-8").split())


def environment(kv_cache_gib: int) -> dict[str, str]:
    """Return the environment variables for the processes of an engine on the CPU.

    All cores it may use, none reserved, freed memory kept, and Intel's OpenMP in front where
    it is installed: twice the decode speed of the defaults.
    """
    variables = {
        "VLLM_CPU_OMP_THREADS_BIND": _cores(),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
        **_KEPT_MEMORY,
    }
    openmp = _intel_openmp()
    if openmp is not None:
        variables["LD_PRELOAD"] = openmp
    return variables


def _cores() -> str:
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))


def _intel_openmp() -> str | None:
    try:
        listed = files("intel-openmp") or []
    except PackageNotFoundError:
        return None
    found = [Path(file.locate()).resolve() for file in listed if file.name == "libiomp5.so"]
    return str(found[0]) if found and found[0].exists() else None
