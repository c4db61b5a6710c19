"""The type an engine computes in on this and other processors."""

from pathlib import Path

import pytest

from medsent.engine.cpu import compute_dtype


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
