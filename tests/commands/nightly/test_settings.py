"""A nightly job's settings: what is refused before anything is scored."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from medsent.cli import main
from medsent.commands.nightly.evidence import pinned_reference
from medsent.commands.nightly.settings import MacroSettings, NightlyConfig, SuccessSettings
from medsent.config.job import JobConfig
from medsent.config.loader import load_settings
from medsent.errors import ConfigError
from tests.conftest import job_values, merged

NIGHT = date(2026, 11, 1)
PAIR = {
    "variants": {"plain": {"method": "onepass"}, "tuned": {"method": "onepass"}},
    "compare": [{"baseline": "plain", "candidate": "tuned"}],
}


def config(tmp_path: Path, **groups: Any) -> NightlyConfig:
    file = tmp_path / "nightly.yaml"
    values = job_values(tmp_path / "in", tmp_path / "runs", tmp_path / "model")
    file.write_text(yaml.safe_dump(merged(values, groups)))
    return load_settings(NightlyConfig, file)


def test_a_night_is_a_job_of_its_own(tmp_path: Path) -> None:
    job = config(tmp_path, retention={"nights": 3}).of(NIGHT)
    assert type(job) is JobConfig
    assert (job.name, job.night) == ("scripted-2026-11-01", NIGHT)
    # What a run keeps of its configuration is a job again.
    kept = JobConfig.model_validate(job.anchored().model_dump(mode="json"))
    assert kept == job.anchored()


def test_the_candidates_are_judged(tmp_path: Path) -> None:
    assert config(tmp_path).judged == ["plain"]
    assert config(tmp_path, **PAIR).judged == ["tuned"]
    assert config(tmp_path, **PAIR, gate={"variants": ["plain"]}).judged == ["plain"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"gate": {"lables": {}}}, r"unknown setting gate\.lables; did you mean labels\?"),
        ({"gate": {"variants": ["other"]}}, "gate.variants names 'other'"),
        ({"reference": "s3://id:secret@bucket/run"}, "reference: a path must not hold a key"),
        ({"retention": {"nights": 1}}, "retention.nights"),
        ({"notify": {"when": ["never"]}}, "notify.when"),
        ({"notify": {"command": []}}, "notify.command: name a program"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, groups: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **groups)


def test_one_limit_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    gate = config(tmp_path, gate={"macro_f1": {"floor": 0.6}, "generation_success": {"drop": 0.02}})
    assert gate.gate.macro_f1 == MacroSettings(drop=0.01, floor=0.6)
    assert gate.gate.generation_success == SuccessSettings(drop=0.02, floor=0.98)


@pytest.mark.parametrize(
    ("share", "judged"), [(0.0, ["plain"]), (0.5, ["plain", "tuned"]), (1.0, ["tuned"])]
)
def test_whom_a_route_asks_nothing_is_not_judged(
    tmp_path: Path, share: float, judged: list[str]
) -> None:
    route = {"candidate": "tuned", "fallback": "plain", "share": share}
    variants = PAIR["variants"]
    assert config(tmp_path, variants=variants, route=route).judged == judged


def test_a_gate_without_intervals_is_refused(tmp_path: Path) -> None:
    without = config(tmp_path, statistics={"replicates": 0})
    with pytest.raises(ConfigError, match="the gate decides by intervals"):
        pinned_reference(without)
    assert pinned_reference(config(tmp_path)) is None


def test_check_looks_at_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config(tmp_path, reference=str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "nightly.yaml")])
    assert ended.value.code == 1
    assert "nowhere is no run" in capsys.readouterr().err


def test_the_example_is_a_nightly_job() -> None:
    example = load_settings(NightlyConfig, Path("jobs/nightly.yaml"))
    assert example.judged == ["finetuned"]
    assert example.notify.when == ["closed", "failed"]
    # What the comments call defaults are those.
    defaults = NightlyConfig.model_fields["gate"].default
    assert example.gate.model_copy(update={"macro_f1": defaults.macro_f1}) == defaults
