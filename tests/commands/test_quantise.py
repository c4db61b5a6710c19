"""What quantises a checkpoint refuses, and what it asks of its library, which is not here."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

VISION = (
    "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
    "vision_tower.vision_model.encoder.layers.0.mlp.fc1",
    "model.multi_modal_projector.mm_input_projection",
    "model.visual.blocks.0.attn.qkv",
)
TEXT = (
    "model.language_model.layers.0.self_attn.q_proj",
    "language_model.model.layers.47.mlp.down_proj",
    "model.layers.0.mlp.gate_proj",
)


@pytest.mark.parametrize(
    ("model", "output", "says"),
    [
        ("empty", "new", "--model: .*empty has no config.json"),
        ("done", "new", "--model: .*done is quantised already"),
        ("damaged", "new", "--model: .*damaged/config.json cannot be read"),
        ("inside", "new", "--model: .*inside is quantised already"),
        ("whole", "empty", "--output: .*empty is there already"),
        ("whole", "new --scheme W5A3", "--scheme: invalid choice"),
    ],
)
def test_what_cannot_be_quantised_is_refused(
    tmp_path: Path, model: str, output: str, says: str
) -> None:
    held = '{"quantization_config": {"quant_method": "gptq"}}'
    shapes = {"damaged": "{", "whole": "{}", "done": held, "inside": f'{{"text_config": {held}}}'}
    for name in ("empty", *shapes):
        (tmp_path / name).mkdir()
    for name, shape in shapes.items():
        (tmp_path / name / "config.json").write_text(shape)
    to, *more = output.split()
    command = [sys.executable, "jobs/quantise.py", "--model", str(tmp_path / model)]
    ended = subprocess.run(
        [*command, "--output", str(tmp_path / to), *more], capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert re.search(says, ended.stderr)
    assert not (tmp_path / "new").exists()


def test_a_merged_model_is_rounded_but_for_what_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in that copies nothing: the origin goes along by our own hand."""
    from compressed_tensors.utils.match import match_name  # takes seconds

    asked: dict[str, Any] = {}

    def stand_in(model: str, output: str, **given: Any) -> None:
        asked.update(given, model=model)
        Path(output).mkdir()
        for name in ("config.json", "medsent-model.json"):
            (Path(output) / name).write_text("{}")

    library: Any = SimpleNamespace(model_free_ptq=stand_in)
    monkeypatch.setitem(sys.modules, "llmcompressor", library)
    model, output = tmp_path / "merged", tmp_path / "rounded"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "medsent-merged.json").write_text('{"scale": 2}')
    main = runpy.run_path("jobs/quantise.py")["main"]
    main(["--model", str(model), "--output", str(output), "--group-size", "32"])
    assert {path.name for path in output.iterdir()} == {"config.json", "medsent-merged.json"}
    assert (output / "medsent-merged.json").read_text() == '{"scale": 2}'
    assert asked["model"] == str(model)
    weights = asked["scheme"].weights
    assert (weights.num_bits, weights.group_size, weights.observer) == (4, 32, "memoryless_mse")
    left = {name for name in (*VISION, *TEXT) if any(match_name(name, i) for i in asked["ignore"])}
    assert left == set(VISION)
    assert set(tmp_path.iterdir()) == {model, output}
