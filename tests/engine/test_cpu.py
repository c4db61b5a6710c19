"""The type an engine computes in on this and other processors, and what its memory costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medsent.engine.cpu import compute_dtype, environment

STEPS = """
import resource

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    b"1" * (64 << 20)

step()
before = faults()
for _ in range(8):
    step()
print(faults() - before)
"""
"""Page faults of taking and giving back a matrix of 64 MiB, eight times."""


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ("flags : fma avx2 avx512f avx512dq avx512bw avx512vl", "bfloat16"),
        ("Features : fp asimd bf16 i8mm", "bfloat16"),
        ("flags : fma avx2 f16c", "float32"),
        ("flags : avx512f", "float32"),
    ],
)
def test_without_the_cpus_help_16_bits_become_32(features: str, found: str, tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor : 0\n{features}\n")
    assert compute_dtype("bfloat16", cpu_info) == found
    assert compute_dtype("float32", cpu_info) == "float32"


def test_the_memory_of_a_step_is_kept_for_the_next() -> None:
    found = {}
    of_malloc = ("MALLOC_", "LD_PRELOAD")
    others = {k: v for k, v in os.environ.items() if not k.startswith(of_malloc)}
    for name, variables in (("plain", {}), ("engine", environment(kv_cache_gib=1))):
        told = subprocess.run(
            [sys.executable, "-c", STEPS],
            env={**others, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        found[name] = int(told.stdout)
    assert found["engine"] < found["plain"] / 5
