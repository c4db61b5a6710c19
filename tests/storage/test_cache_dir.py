"""Where a machine's copies lie, and when they go."""

import os
from pathlib import Path

import pytest

from medsent.storage import cache
from medsent.storage.cache import cache_dir


@pytest.mark.parametrize(
    ("own", "caches", "expected"),
    [
        ("/own", "/caches", "/own"),
        ("", "/caches", "/caches/medsent"),
        (None, "/caches", "/caches/medsent"),
        (None, "relative", "HOME/.cache/medsent"),
        (None, "", "HOME/.cache/medsent"),
        (None, None, "HOME/.cache/medsent"),
    ],
)
def test_caches_lie_where_the_user_has_them(
    own: str | None,
    caches: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (("MEDSENT_CACHE", own), ("XDG_CACHE_HOME", caches)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert str(cache_dir()) == expected.replace("HOME", str(tmp_path))


def test_copies_that_nobody_asks_for_go(tmp_path: Path) -> None:
    for name in ("old", "new", "asked"):
        (tmp_path / name).mkdir()
        with cache.alone(tmp_path / f".{name}.lock"):
            pass
    for name in ("old", "asked"):
        os.utime(tmp_path / f".{name}.lock", (0, 0))
    with cache.alone(tmp_path / ".asked.lock"):
        os.utime(tmp_path / ".asked.lock", (0, 0))
        cache._evict(tmp_path)
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"new", "asked"}
