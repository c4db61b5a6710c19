"""Quantise a model's weights for vLLM: python jobs/quantise.py --model models/merged --output models/merged-w4a16

Runs in an environment of its own, made from requirements/quantise.txt: LLM Compressor asks for
other versions of transformers and compressed-tensors than the engine. Weights are rounded one
file at a time, so that the largest file must fit in memory, not the model; no GPU is needed.
"""  # noqa: E501

import argparse
import json
import shutil
import sys
from pathlib import Path

SCHEMES = ("W4A16", "W4A16_ASYM", "FP8_DYNAMIC")
"""Presets of compressed-tensors that were tried: 4 bits, 4 bits with zero points, and 8 bits."""
IGNORED = [
    "lm_head",
    "re:.*embed_tokens$",
    "re:.*(vision_tower|vision_model|visual|audio_tower|multi_modal_projector).*",
]
"""Left in 16 bits: embeddings and output layer, and the parts for images and sounds."""
MERGED = ("medsent-merged.json", "prompt.yaml", "answer.yaml", "labels.yaml")
"""Files of a merged model that a job reads: its origin, prompt, answer form and labels."""


def main(arguments: list[str]) -> None:
    """Read the command's options and write the quantised folder, which is whole or not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a folder of safetensors")
    parser.add_argument("--output", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--scheme", choices=SCHEMES, default=SCHEMES[0], help="how and how far")
    parser.add_argument(
        "--group-size", type=int, help="weights that share a scale; fewer are nearer to the model"
    )
    parser.add_argument(
        "--plain", action="store_true", help="scales by the largest weight: quick, and further off"
    )
    given = parser.parse_args(arguments)
    if not (given.model / "config.json").is_file():
        parser.error(f"--model: {given.model} has no config.json; is it a model's folder?")
    try:
        done = is_quantised(given.model)
    except ValueError:
        parser.error(f"--model: {given.model}/config.json cannot be read; get it anew")
    if done:
        parser.error(f"--model: {given.model} is quantised already; name what it was made of")
    if given.output.exists():
        parser.error(f"--output: {given.output} is there already; name another, or remove it")
    work = given.output.with_name(f".{given.output.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # what a kill left
    try:
        quantise(given.model, work, given.scheme, given.group_size, plain=given.plain)
        work.rename(given.output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"In the job's YAML: model: {{source: {given.output}, quantization: null}}")


def is_quantised(model: Path) -> bool:
    """Tell whether a checkpoint's configuration says how its weights are quantised."""
    shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
    parts = (shape, shape.get("text_config") or {})
    return any(
        part.get(f"{how}_config") for part in parts for how in ("quantization", "compression")
    )


def quantise(
    model: Path, output: Path, scheme: str, group_size: int | None, *, plain: bool
) -> None:
    """Round the weights of every linear layer but `IGNORED`; all other files are copied."""
    from compressed_tensors.quantization import preset_name_to_scheme
    from llmcompressor import model_free_ptq

    preset = preset_name_to_scheme(scheme, ["Linear"])
    if group_size is not None:
        preset.weights.group_size = group_size
    if not plain and preset.weights.num_bits < 8:
        preset.weights.observer = "memoryless_mse"  # scales of the least error, by search
        print("The library's traceback of Tensor.item() is of its estimate of memory: no harm.")
    model_free_ptq(str(model), str(output), scheme=preset, ignore=IGNORED)
    for name in MERGED:
        if (model / name).is_file():
            shutil.copyfile(model / name, output / name)
    # Hashes of the embedded model's own files.
    (output / "medsent-model.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
