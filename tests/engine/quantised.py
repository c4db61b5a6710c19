"""A checkpoint's linear layers in 4 bits as compressed-tensors packs them, plainly rounded."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

GROUP: Final = 32
"""Weights that share a scale."""
KEPT: Final = "language_model.model.layers.3.mlp.down_proj"
"""A layer that stays in 16 bits, as the wrapper names it."""
CONFIG: Final = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 4,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": GROUP,
            },
        }
    },
    "ignore": ["lm_head", KEPT, "re:.*vision_tower.*", "re:.*multi_modal_projector.*"],
}


def is_rounded(module: str) -> bool:
    """Tell whether a module of a wrapper or of its text model is in 4 bits."""
    inner = module[module.find("layers.") :]
    seen = "vision" in module or "multi_modal" in module
    return inner.endswith("_proj") and not seen and not KEPT.endswith(inner)


def rounded(weight: Any) -> tuple[Any, Any]:
    """Return a weight's steps, (out, in) of -8 to 7, and scales, (out, in / GROUP)."""
    groups = weight.float().unflatten(1, (-1, GROUP))
    scales = (groups.abs().amax(2, keepdim=True) / 7).bfloat16().float()
    steps = (groups / scales.clamp(min=1e-10)).round().clamp(-8, 7)
    return steps.flatten(1), scales.squeeze(2)


def dequantised(weight: Any) -> Any:
    """Return what is left of a weight, in float32."""
    steps, scales = rounded(weight)
    return (steps.unflatten(1, (-1, GROUP)) * scales[..., None]).flatten(1)


def write_quantised(folder: Path, model: Path) -> Path:
    """Write a model's folder with its text model's linear layers in 4 bits."""
    folder.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix != ".safetensors" and ".index" not in file.suffixes:
            shutil.copy(file, folder)
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": CONFIG}))
    for file in model.glob("*.safetensors"):
        _write_packed(file, folder / file.name)
    return folder


def _write_packed(source: Path, target: Path) -> None:
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from safetensors.torch import load_file, save_file

    packed: dict[str, Any] = {}
    for name, tensor in load_file(source).items():
        module = name.removesuffix(".weight")
        if not is_rounded(module):
            packed[name] = tensor
            continue
        steps, scales = rounded(tensor)
        packed[f"{module}.weight_packed"] = pack_to_int32(steps.to(torch.int8), 4)
        packed[f"{module}.weight_scale"] = scales.bfloat16()
        packed[f"{module}.weight_shape"] = torch.tensor(tensor.shape)
    save_file(packed, target, metadata={"format": "pt"})
