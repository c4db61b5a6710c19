"""Small random wrappers: does vLLM's text model alone answer as transformers' whole, with a LoRA?

By hand, after a change of vLLM or transformers: `python -m tests.models.tried_wrappers`. Each that
`medsent.engine.text_model` names is made, given an adapter by peft under the names of this
transformers, and asked with and without it. Twenty seconds each.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

_WATCHED: Final = list(range(20, 140))
_PROMPT: Final = [1, *((7 * i * i + 3 * i) % 400 + 20 for i in range(80))]
_TEXT: Final[dict[str, Any]] = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 512,
    "max_position_embeddings": 512,
}
_QWEN: Final = {**_TEXT, "num_attention_heads": 2, "num_key_value_heads": 1}
_STREAMS: Final = {
    "rope_type": "default",
    "mrope_section": [8, 12, 12],
    "rope_theta": 1e6,
}
_VISION: Final[dict[str, Any]] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_CLIP: Final = {"model_type": "clip_vision_model", "projection_dim": 32, **_VISION}
_PIXTRAL: Final = {"model_type": "pixtral", "head_dim": 16, **_VISION}
_HEADS: Final = {**_VISION, "head_dim": 16, "num_key_value_heads": 2}
_SQUARE: Final = {**_VISION, "image_size": [28, 28], "patch_size": [14, 14]}
_VISUAL: Final = {
    "depth": 1,
    "hidden_size": 32,
    "out_hidden_size": 128,
    "embed_dim": 32,
    "num_heads": 2,
    "intermediate_size": 64,
    "patch_size": 14,
}


def _wrapper(name: str, text: dict[str, Any], **own: Any) -> Callable[[], Any]:
    """Return a maker of transformers' `name` of random weights."""

    def make() -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(text_config=text, **own)
        return getattr(transformers, f"{name}ForConditionalGeneration")(config)

    return make


def _qwen(name: str, vision: dict[str, Any], **own: Any) -> Callable[[], Any]:
    text = {**(_TEXT if "3" in name else _QWEN), "rope_parameters": _STREAMS}
    return _wrapper(name, text, vision_config={**_VISUAL, **vision}, **own)


_LLAMA: Final = {"model_type": "llama", **_TEXT}
_MISTRAL: Final = {"model_type": "mistral", "sliding_window": None, **_TEXT}
_DEEP: Final = {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
_TRIED: Final[dict[str, Callable[[], Any]]] = {
    "llava llama": _wrapper("Llava", _LLAMA, vision_config=_CLIP, image_token_id=500),
    "llava mistral": _wrapper("Llava", _MISTRAL, vision_config=_CLIP, image_token_id=500),
    "llava_next mistral": _wrapper("LlavaNext", _MISTRAL, vision_config=_CLIP, image_token_id=500),
    "mistral3 mistral": _wrapper("Mistral3", _MISTRAL, vision_config=_PIXTRAL, image_token_id=500),
    "mistral3 ministral3": _wrapper(
        "Mistral3",
        {"model_type": "ministral3", **_TEXT},
        vision_config=_PIXTRAL,
        image_token_id=500,
    ),
    "qwen2_vl": _qwen("Qwen2VL", {"hidden_size": 128, "mlp_ratio": 2}),
    "qwen2_5_vl": _qwen("Qwen2_5_VL", {}),
    "qwen2_5_vl tied": _qwen("Qwen2_5_VL", {}, tie_word_embeddings=True),
    "qwen3_vl": _qwen("Qwen3VL", _DEEP),
    "gemma4": _wrapper(
        "Gemma4",
        {
            **_TEXT,
            "global_head_dim": 64,
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": 512,
            "num_kv_shared_layers": 0,
        },
        vision_config={**_HEADS, "global_head_dim": 16},
        audio_config=None,
    ),
    "idefics3": _wrapper(
        "Idefics3",
        {**_LLAMA, "pad_token_id": 2},
        vision_config=_VISION,
        image_token_id=500,
        pad_token_id=2,
    ),
    "internvl qwen2": _wrapper(
        "InternVL", {"model_type": "qwen2", **_QWEN}, vision_config=_SQUARE, image_token_id=500
    ),
    "internvl qwen3": _wrapper(
        "InternVL", {"model_type": "qwen3", **_TEXT}, vision_config=_SQUARE, image_token_id=500
    ),
}


def make(name: str, folder: Path) -> list[list[float]]:
    """Write a wrapper and an adapter; return transformers' logprobs without it and with it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = _TRIED[name]().float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.08)
    without = _logprobs(model)
    model.save_pretrained(folder)
    layers = r"(?!.*visi)(?!.*visual).*layers\..*\.(q_proj|v_proj)"
    tuned = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=layers))
    for part, parameter in tuned.named_parameters():
        if "lora_B" in part:
            torch.nn.init.normal_(parameter, 0, 0.05)
    with_it = _logprobs(tuned)
    tuned.save_pretrained(folder / "adapter")
    return [without, with_it]


def _logprobs(model: Any) -> list[float]:
    with torch.inference_mode():
        last = model(input_ids=torch.tensor([_PROMPT])).logits[0, -1]
    found: list[float] = torch.log_softmax(last, -1)[_WATCHED].tolist()
    return found


def serve(folder: Path) -> list[list[float]]:
    """Return the text model's logprobs by vLLM in this process, without the adapter and with it."""
    from medsent.config.engine import VllmSettings
    from medsent.config.job import ModelSettings
    from medsent.engine.vllm import EnginePlan, adapters_of, arguments_of

    options = {"distributed_executor_backend": "uni", "block_size": 32}
    settings = VllmSettings(device="cpu", kv_cache_gib=1, max_num_seqs=4, options=options)
    model = ModelSettings(source=str(folder), max_model_len=256, dtype="float32")
    adapters = {"adapter": str(folder / "adapter")}
    plan = EnginePlan(str(folder), settings, model, adapters, written=False)
    os.environ.update({**plan.environment(), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    from vllm import LLM, SamplingParams

    engine = LLM(**arguments_of(plan))
    ask = SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=_WATCHED, detokenize=False)
    found = []
    for adapter in (None, adapters_of(plan)["adapter"]):
        [output] = engine.generate(
            {"prompt_token_ids": _PROMPT}, ask, lora_request=adapter, use_tqdm=False
        )
        [step] = output.outputs[0].logprobs
        found.append([step[token].logprob for token in _WATCHED])
    return found


def main(names: list[str]) -> None:
    """Try each in a process of its own: vLLM leaves one in which it failed unusable."""
    if len(names) != 1:
        for name in names or _TRIED:
            subprocess.run([sys.executable, "-m", "tests.models.tried_wrappers", name], check=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        expected = torch.tensor(make(names[0], Path(folder)))
        found = torch.tensor(serve(Path(folder)))
    effect = (expected[1] - expected[0]).abs().max()
    base, tuned = (found - expected).abs().amax(1).tolist()
    print(f"{names[0]:<22} base {base:.1e}  adapter {tuned:.1e}  (its effect {effect:.1e})")


if __name__ == "__main__":
    main(sys.argv[1:])
