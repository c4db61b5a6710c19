"""What vLLM cannot serve is refused by `check`, in its own words and before anything starts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
import yaml

from medsent.cli import main
from medsent.engine import lora_rules
from medsent.engine.lora_rules import judged
from medsent.models.adapter import Adapter
from medsent.models.lora import Binding
from medsent.models.modules import NAMINGS
from medsent.models.served import kernel_targets
from tests.conftest import AdapterWriter, job_values, merged
from tests.models.checkpoints import OLMO, TEXT, WRAPPER, write_model

pytestmark = pytest.mark.slow

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "does not yet support DoRA"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, "Unsupported modules_to_save"),
    "aLoRA": ({"alora_invocation_tokens": [1]}, "does not support Activated LoRA"),
    "bias all": ({"bias": "all"}, "bias is not supported"),
    "bias null": ({"bias": None}, "bias is not supported"),
    "bias of LoRA": ({"lora_bias": True}, "does not support LoRA bias"),
    "replicated layers": ({"layer_replication": [[0, 4]]}, "does not support layer_replication"),
    "QALoRA": ({"use_qalora": True}, "does not support QALoRA"),
    "BD-LoRA": ({"use_bdlora": {"nblocks": 2}}, "block-diagonal LoRA"),
    "no alpha": ({"lora_alpha": ...}, "Missing required configuration fields: {'lora_alpha'}"),
    "no targets": ({"target_modules": ...}, "fields: {'target_modules'}"),
}
"""Kind to what its settings have (or lack, where ...), and what vLLM says of it."""
SERVED: dict[str, dict[str, Any]] = {
    "plain": {},
    "rsLoRA": {"use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "ranks of its own": {"r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 9}},
}


class Bench:
    """Jobs for vLLM over small checkpoints, of which nothing may start."""

    def __init__(self, folder: Path, shard: Path, write_adapter: AdapterWriter) -> None:
        self._folder, self._shard, self._write = folder, shard, write_adapter
        self.models = {
            "text": write_model(folder / "text", TEXT),
            "olmo": write_model(folder / "olmo", OLMO),
            "wrapper": write_model(
                folder / "wrapper", WRAPPER, "language_model.model.layers.0.self_attn.q_proj"
            ),
        }

    def adapter(self, name: str, before: str = "model.", **settings: Any) -> Path:
        """Write an adapter; a setting that is ... is left out."""
        module = f"base_model.model.{before}layers.0.self_attn.q_proj"
        kept = {key: value for key, value in settings.items() if value is not ...}
        folder = self._write(self._folder / name, module=module, shape=(16, 8), **kept)
        file = folder / "adapter_config.json"
        whole = json.loads(file.read_text())
        file.write_text(json.dumps({k: v for k, v in whole.items() if settings.get(k) is not ...}))
        return folder

    def job(self, adapter: Path, model: str = "text", **engine: Any) -> str:
        values = job_values(self._shard, self._folder / "runs", self.models[model])
        values = merged(values, {"variants": {"tuned": {"adapter": str(adapter)}}})
        values["engine"] = {"kind": "vllm", **engine}
        file = self._folder / "job.yaml"
        file.write_text(yaml.safe_dump(values))
        return str(file)


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory, demo_shard: Path, write_adapter: AdapterWriter
) -> Iterator[Bench]:
    """A bench where nothing that vLLM judges is known before."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSENT_CACHE", str(folder / "cache"))
        yield Bench(folder, demo_shard, write_adapter)


@pytest.fixture(scope="module")
def adapters(bench: Bench) -> dict[str, Path]:
    """All adapters, judged together: vLLM is imported once."""
    settings = {**{name: found for name, (found, _) in REFUSED.items()}, **SERVED}
    made = {name: bench.adapter(name, **found) for name, found in settings.items()}
    texts = [(folder / "adapter_config.json").read_text() for folder in made.values()]
    judgements = judged(texts)
    assert judgements is not None
    assert [bool(judgement.refused) for judgement in judgements] == [
        name in REFUSED for name in made
    ]
    return made


def checked(job: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Check a job; return the exit code, stdout and stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["check", job])
    said, complained = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said, complained


@pytest.mark.parametrize("kind", REFUSED)
def test_what_vllm_cannot_serve_is_refused_in_its_words(
    bench: Bench, adapters: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, complained = checked(bench.job(adapters[kind]), capsys)
    assert code == 2
    [line] = complained.splitlines()
    assert line.startswith(f"medsent: variants.tuned.adapter: {adapters[kind]} cannot be served: ")
    assert REFUSED[kind][1] in line


@pytest.mark.parametrize("kind", SERVED)
def test_what_it_can_serve_fits(
    bench: Bench, adapters: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, complained = checked(bench.job(adapters[kind]), capsys)
    assert code == 0, complained
    assert "adapter of rank 2 fits, trained on the text model, sha256 " in said


def test_vllm_is_asked_once_of_each(
    adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [(folder / "adapter_config.json").read_text() for folder in adapters.values()]
    first = judged(texts)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was asked again"))
    assert judged(texts[::-1]) == (first or [])[::-1]


def test_a_check_imports_neither_torch_nor_vllm(bench: Bench, adapters: dict[str, Path]) -> None:
    code = (
        "import sys\nfrom medsent.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    print(end.code, sorted({'torch', 'vllm'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "check", bench.job(adapters["plain"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (
            {"max_lora_rank": 1},
            "tuned.adapter has rank 2, above engine.max_lora_rank 1; set it to 8",
        ),
        ({"max_lora_rank": 24}, "engine.max_lora_rank: vLLM takes 1, 8, 16, 32, 64, 128, 256, 320"),
        ({"max_lora_rank": 24}, "and not 24; set it to 32"),
        ({"max_lora_rank": 1000}, "and not 1000; vLLM serves a rank of 512 at most"),
        ({"options": {"max_lora_rank": 1}}, "above engine.options.max_lora_rank 1; set it to 8"),
    ],
)
def test_a_highest_rank_that_does_not_do_is_told_with_the_next(
    bench: Bench,
    adapters: dict[str, Path],
    engine: dict[str, Any],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, complained = checked(bench.job(adapters["plain"], **engine), capsys)
    assert code == 2
    assert told in complained


WHOLE = {"options": {"language_model_only": True}}


@pytest.mark.parametrize(
    ("model", "engine", "bound"),
    [
        ("text", {}, set(NAMINGS)),
        ("wrapper", {}, set(NAMINGS)),
        ("wrapper", WHOLE, {*NAMINGS} - {"model.", ""}),
        ("olmo", {}, {"model.", ""}),
    ],
    ids=["Gemma 3's text model", "its wrapper", "its wrapper as vLLM serves it", "another"],
)
def test_names_that_vllm_would_pass_over_are_refused(
    bench: Bench,
    adapters: dict[str, Path],
    model: str,
    engine: dict[str, Any],
    bound: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for before in NAMINGS:
        adapter = bench.adapter(before or "bare", before)
        code, said, complained = checked(bench.job(adapter, model, **engine), capsys)
        assert code == (0 if before in bound else 2), complained
        assert "fits, trained on" in said or "vLLM does not bind that to" in complained


@pytest.mark.parametrize(
    ("targets", "limited"),
    [
        (
            [("self_attn.q_proj", "self_attn.o_proj"), ("mlp.up_proj",)],
            ("o_proj", "q_proj", "up_proj"),
        ),
        ([("self_attn.q_proj",), ("0.up_proj",)], ()),
        ([("attention.wq",)], ()),
    ],
    ids=["usual", "experts", "names of its own"],
)
def test_kernels_are_limited_to_what_vllm_knows_by_name(
    targets: list[tuple[str, ...]], limited: tuple[str, ...]
) -> None:
    bindings = [Binding(2, each, (), unnamed=True, sized=True) for each in targets]
    adapters = [Adapter("a", Path("a"), "", "", binding) for binding in bindings]
    assert kernel_targets(adapters) == limited


def test_where_vllm_is_not_installed_it_is_said_that_it_was_not_asked(
    bench: Bench,
    adapters: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lora_rules, "_version", lambda: None)
    code, said, _ = checked(bench.job(adapters["DoRA"]), capsys)
    assert code == 0
    assert "vLLM cannot be asked about adapters here" in said
    code, _, complained = checked(bench.job(adapters["plain"], max_lora_rank=1), capsys)
    assert code == 2
    assert "has rank 2, above engine.max_lora_rank 1; raise that setting" in complained


def test_the_rank_that_vllm_goes_by_is_that_of_the_settings(
    bench: Bench, adapters: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tensors have rank 2, and no module the 4 of the others."""
    job = bench.job(adapters["ranks of its own"], max_lora_rank=1)
    code, _, complained = checked(job, capsys)
    assert code == 2
    assert "has rank 4 in its adapter_config.json, above engine.max_lora_rank 1" in complained


@pytest.mark.parametrize("kind", [MemoryError, OSError])
def test_what_fails_on_this_machine_is_no_refusal(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """It would be kept, and the adapter refused for ever."""

    def fail(_: object) -> None:
        raise kind

    def refuse(_: object) -> None:
        raise ValueError("no targets")

    config, helper = ModuleType("config"), ModuleType("helper")
    config.LoRAConfig, config.MaxLoRARanks = SimpleNamespace, Literal[1, 8]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.config.lora", config)
    monkeypatch.setitem(sys.modules, "vllm.lora.peft_helper", helper)
    for package in ("vllm", "vllm.config", "vllm.lora"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    helper.PEFTHelper = SimpleNamespace(from_dict=refuse)  # type: ignore[attr-defined]
    assert lora_rules._answer(["{}"]) == [lora_rules.Judgement([1, 8], "no targets")]
    helper.PEFTHelper.from_dict = fail
    with pytest.raises(kind):
        lora_rules._answer(["{}"])
