"""The settings of a scoring job."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from medsent.config.engine import ScriptedSettings, VllmSettings
from medsent.config.job import JobConfig, VariantSettings
from medsent.config.loader import load_settings
from medsent.errors import ConfigError
from medsent.runs.folder import RunFolder
from medsent.storage.paths import any_path

SMALLEST: dict[str, Any] = {
    "name": "a",
    "input": {"path": "in"},
    "model": {"source": "m"},
    "variants": {"plain": {}},
}


def made(**settings: Any) -> JobConfig:
    return JobConfig.model_validate({**SMALLEST, **settings})


def test_defaults() -> None:
    config = made()
    assert config.engine == VllmSettings()
    assert config.output.path == "runs"
    assert config.variants["plain"].method == "onepass"
    assert config.statistics.slices == ["language", "persona"]


def test_an_engine_is_vllm_unless_it_says_otherwise() -> None:
    assert made(engine={"max_num_seqs": 3}).engine == VllmSettings(max_num_seqs=3)
    scripted = made(engine={"kind": "scripted", "latency_s": 0.5}).engine
    assert scripted == ScriptedSettings(kind="scripted", latency_s=0.5)


def test_batches_are_not_made_invariant_without_gpus() -> None:
    assert made(engine={"batch_invariant": True}).engine == VllmSettings(batch_invariant=True)
    with pytest.raises(ValidationError, match=r"engine\.max_num_seqs: 1 asks one record at a time"):
        made(engine={"batch_invariant": True, "device": "cpu"})


@pytest.mark.parametrize("file", ["demo.yaml", "demo-json.yaml", "evaluate.yaml"])
def test_the_jobs_that_ship_can_be_read(file: str) -> None:
    config = load_settings(JobConfig, Path("jobs") / file)
    assert config.compare[0].candidate in config.variants


def test_it_survives_the_run_folder() -> None:
    config = made(
        engine={"kind": "scripted"},
        compare=[{"baseline": "plain", "candidate": "plain"}],
        input={"path": "żółw", "columns": {"persona": None}, "keep": ["clinic"]},
        statistics={"slices": ["clinic"]},
    )
    written = yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True)
    assert JobConfig.model_validate(yaml.safe_load(written)) == config


ASKED: dict[str, Any] = {
    "method": "json",
    "prompt": "prompts/own.yaml",
    "answer": "s3://bucket/answer.yaml",
    "guided": False,
    "sampling": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "seed": 3},
}


def test_a_run_keeps_what_is_asked_and_how(tmp_path: Path) -> None:
    variants = {"own": ASKED, "plain": {}, "digits": {"method": "bits", "prompt": "p.yaml"}}
    config = made(variants=variants, labels="labels.yaml", personas="personas.yaml")
    run = RunFolder(tmp_path)
    run.keep_config(config)
    assert run.config() == config.anchored()
    own = run.config().variants["own"]
    assert own.prompt == str(Path("prompts/own.yaml").resolve())
    assert own.answer == ASKED["answer"]
    assert (own.guided, own.sampling.model_dump()) == (False, ASKED["sampling"])
    assert run.config().variants["plain"] == VariantSettings()
    assert run.config().labels == str(Path("labels.yaml").resolve())
    assert run.config().anchored() == run.config()


@pytest.mark.parametrize("method", ["onepass", "bits"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("answer", "answer.yaml"),
        ("guided", True),
        ("guided", False),
        ("sampling", {"temperature": 0}),
        ("sampling", {"seed": 1}),
    ],
)
def test_what_goes_with_json_alone_is_refused_elsewhere(
    method: str, setting: str, value: Any
) -> None:
    with pytest.raises(ValidationError) as caught:
        made(variants={"a": {"method": method, setting: value}})
    assert f"{setting} goes with method json, not with {method}" in str(caught.value)
    assert made(variants={"a": {"method": "json", setting: value}})
    assert made(variants={"a": {"method": method, "sampling": {}, "guided": None}})


def test_how_an_answer_is_generated_can_be_set_from_the_command(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**SMALLEST, "variants": {"own": {"method": "json"}}}))
    given = ["variants.own.guided=false", "variants.own.sampling.temperature=0.5"]
    own = load_settings(JobConfig, file, [*given, "labels=five.yaml"]).variants["own"]
    assert (own.guided, own.sampling.temperature) == (False, 0.5)
    with pytest.raises(ConfigError, match=r"variants\.own: guided goes with method json"):
        load_settings(JobConfig, file, [*given, "variants.own.method=bits"])
    with pytest.raises(ConfigError, match=r"variants\.own\.sampling\.top_p"):
        load_settings(JobConfig, file, ["variants.own.sampling.top_p=2"])
    with pytest.raises(ConfigError, match=r"variants\.own\.promt; did you mean prompt"):
        load_settings(JobConfig, file, ["variants.own.promt=a.yaml"])


def test_a_path_that_is_given_to_a_command_holds_no_key_either() -> None:
    with pytest.raises(ConfigError, match="must hold no key") as caught:
        any_path("s3://AKIA:se/cret@bucket/run")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "../up"}, "name"),
        ({"name": ""}, "name"),
        ({"output": {"path": "ftp://host/runs"}}, "ftp:// is no storage; give a folder, s3://"),
        ({"input": {"path": "s3://id:secret@bucket/in"}}, "a path must not hold a key; set AWS_"),
        ({"input": {"path": "s3://id:sec/ret@bucket/in"}}, "a path must not hold a key; set AWS_"),
        ({"output": {"path": "s3://id:secret@bucket/runs"}}, "a path must not hold a key"),
        ({"labels": "s3://id:secret@bucket/l.yaml"}, "a path must not hold a key"),
        ({"variants": {"a": {"prompt": "s3://id:secret@bucket/p"}}}, "must not hold a key"),
        ({"variants": {}}, "variants"),
        ({"variants": {"outcome": {}}}, "'outcome' is a column of the predictions"),
        ({"variants": {"a": {"method": "guess"}}}, "'bits', 'json' or 'onepass'"),
        (
            {"compare": [{"baseline": "plain", "candidate": "tuned"}]},
            "compare names 'tuned', which is no variant (plain)",
        ),
        ({"engine": {"replicas": {"min": 3, "max": 2}}}, "replicas.max is below replicas.min"),
        ({"engine": {"replicas": {"min": 0}}}, "greater than or equal to 1"),
        ({"model": {"source": "m", "dtype": "float8"}}, "bfloat16"),
        ({"model": {"source": "m", "max_model_len": 8}}, "greater than or equal to 64"),
        ({"input": {"path": "in", "keep": ["language"]}}, "'language' is a column of the pred"),
        ({"input": {"path": "in", "keep": ["plain"]}}, "'plain' is a variant's name"),
        ({"input": {"path": "in", "keep": ["a", "a"]}}, "names 'a' twice"),
        (
            {"input": {"path": "in", "keep": ["text"], "columns": {"text": "comment"}}},
            "'text' is a column of the predictions",
        ),
        ({"statistics": {"slices": ["clinic"]}}, "statistics.slices names 'clinic'"),
        (
            {"input": {"path": "in", "keep": ["a=b"]}, "statistics": {"slices": ["a=b"]}},
            "statistics.slices: 'a=b' has a '=' in it",
        ),
    ],
)
def test_what_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(**settings)
    assert told in str(caught.value)


def test_a_kept_job_may_slice_by_a_column_with_a_sign_of_equality(tmp_path: Path) -> None:
    odd = {"input": {"path": "in", "keep": ["a=b"]}, "statistics": {"slices": ["a=b"]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**SMALLEST, **odd}))
    kept = load_settings(JobConfig, tmp_path / "config.yaml", kept=True)
    assert kept.statistics.slices == ["a=b"]


def test_the_text_may_be_kept() -> None:
    assert made(input={"path": "in", "keep": ["text"]}).input.keep == ["text"]


def test_a_scripted_run_of_before_has_the_tests_settings_as_null(tmp_path: Path) -> None:
    former = {"deadly_token": None, "hanging_token": None, "memory_for": None}
    assert made(engine={"kind": "scripted", **former}).engine == ScriptedSettings(kind="scripted")
    with pytest.raises(ValidationError, match=r"deadly_token\n.*[Ee]xtra"):
        made(engine={"kind": "scripted", "deadly_token": 0})
