"""Which checkpoint counts as whole, and whose it is."""

from pathlib import Path

import pytest

from medsent.commands.training.checkpoints import (
    claim,
    drop_partial,
    last_checkpoint,
    mark_whole,
    refuse_others,
)
from medsent.errors import ConfigError


def _checkpoint(folder: Path, step: int, seconds: float | None) -> None:
    own = folder / f"checkpoint-{step}"
    own.mkdir(parents=True)
    if seconds is not None:
        mark_whole(own, seconds)


def test_the_last_whole_one_counts(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "nowhere") is None
    for step, seconds in ((9, 1.0), (10, 2.0), (11, None)):
        _checkpoint(tmp_path, step, seconds)
    last = last_checkpoint(tmp_path)
    assert last is not None
    assert (last.step, last.seconds, last.folder.name) == (10, 2.0, "checkpoint-10")


def test_a_half_written_one_is_removed(tmp_path: Path) -> None:
    _checkpoint(tmp_path, 9, 1.0)
    _checkpoint(tmp_path, 10, None)
    drop_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-9"]


def test_another_training_is_refused(tmp_path: Path) -> None:
    claim(tmp_path / "c", {"method": "onepass", "seed": 0})
    claim(tmp_path / "c", {"seed": 0, "method": "onepass"})
    with pytest.raises(ConfigError, match=r"\(seed\)"):
        claim(tmp_path / "c", {"method": "onepass", "seed": 1})


def test_another_base_is_refused_where_it_was_recorded(tmp_path: Path) -> None:
    claim(tmp_path, {"seed": 0})
    claim(tmp_path, {"seed": 0, "base": "one"})
    refuse_others(tmp_path, {"seed": 0})
    with pytest.raises(ConfigError, match=r"^model\.source: .* on another content"):
        claim(tmp_path, {"seed": 0, "base": "two"})
    with pytest.raises(ConfigError, match=r"other settings \(base, seed\)"):
        claim(tmp_path, {"seed": 1, "base": "two"})
