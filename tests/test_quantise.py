"""What quantises a checkpoint refuses, before its library is needed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("model", "output", "says"),
    [
        ("empty", "new", "--model: .*empty has no config.json"),
        ("whole", "empty", "--output: .*empty is there already"),
        ("whole", "new --scheme W5A3", "--scheme: invalid choice"),
    ],
)
def test_what_cannot_be_quantised_is_refused(
    tmp_path: Path, model: str, output: str, says: str
) -> None:
    for name in ("empty", "whole"):
        (tmp_path / name).mkdir()
    (tmp_path / "whole" / "config.json").write_text("{}")
    to, *more = output.split()
    command = [sys.executable, "jobs/quantise.py", "--model", str(tmp_path / model)]
    ended = subprocess.run(
        [*command, "--output", str(tmp_path / to), *more], capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert re.search(says, ended.stderr)
    assert not (tmp_path / "new").exists()
