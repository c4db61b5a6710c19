"""Settings with which vLLM is fast and steady on a CPU."""

import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final

_CPU_INFO: Final = Path("/proc/cpuinfo")
_FAST_BFLOAT16: Final = {"avx512bw", "bf16"}
"""Features of x86 and of ARM, one of which oneDNN needs for products of 16 bits."""
_KEPT_MEMORY: Final = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""To glibc: an engine step's matrices are hundreds of MiB. Given back and taken again they are
a million page faults in half a minute. Kept, the embedded model's engine takes 5.7 GB for 5.5."""


def compute_dtype(dtype: str, cpu_info: Path = _CPU_INFO) -> str:
    """Return the type in which an engine on this CPU computes: `float32` where 16 bits are slow.

    Without the CPU's help torch makes products of 16 bits on one core and without vectors,
    seven times slower than those of 32, which hold every 16-bit weight as it is.
    """
    if dtype == "float32":
        return dtype
    words = cpu_info.read_text(encoding="utf-8").split()
    return dtype if _FAST_BFLOAT16 & set(words) else "float32"


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
