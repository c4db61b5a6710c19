"""A job whose engines cannot start ends at once, and with the reason."""

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from medsent.commands import evaluate as evaluation
from medsent.commands.evaluate import evaluate
from medsent.errors import ModelError
from medsent.scoring.plan import Plan, make_plan
from tests.conftest import JobBuilder

pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("cluster")
def test_a_node_whose_model_is_another_ends_the_job(
    job: JobBuilder,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
) -> None:
    folder = copytree(small_model, tmp_path / "model")
    config = job(model={"source": str(folder)})

    def planned(*arguments: Any) -> Plan:
        plan = make_plan(*arguments)
        (folder / "config.json").write_text('{"rewritten": true}')  # as a node would see it
        return plan

    monkeypatch.setattr(evaluation, "make_plan", planned)
    said.clear()
    with pytest.raises(ModelError, match=r"has another content on .* than where the job began"):
        evaluate(config)
    [run] = (tmp_path / "runs").iterdir()
    assert not (run / "manifest.json").exists()
