"""A Ray of this machine: its token is for its owner alone."""

from pathlib import Path

import pytest

from medsent.scoring.cluster import _keep_token


@pytest.mark.parametrize("there", [None, "of-before"])
def test_rays_token_is_its_owners_alone(
    there: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ray" / "auth_token"
    if there:
        file.parent.mkdir()
        file.write_text(there)
        file.chmod(0o644)
    _keep_token()
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text()
    assert token == there if there else len(token) == 64
    _keep_token()
    assert file.read_text() == token
