"""The model without an engine: transformers and peft, float32, one prompt after the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def load_plain(model: Path, adapter: Path | None) -> Any:
    """Load the base model, with an adapter where there is one."""
    base: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return (PeftModel.from_pretrained(base, str(adapter)) if adapter else base).eval()


def plain_logits(model: Any, prompts: Sequence[list[int]], token_ids: Sequence[int]) -> np.ndarray:
    """Return (N, 21) label logits: each label's first token less the reference, the last id."""
    *labels, none = token_ids
    found = []
    with torch.inference_mode():
        for prompt in prompts:
            last = model(input_ids=torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
            found.append((last[labels] - last[none]).numpy())
    return np.stack(found)
