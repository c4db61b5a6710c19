"""transformers' `generate`, one opinion at a time: the way of the reference report.

A base model stops when it likes, so each answer is made as long as the job's JSON is.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from medsent.engine import cpu
from medsent.engine.protocol import Request
from tests.bench.timing import Round


class OneAtATime:
    """The model with or without the adapter, made in a process of its own."""

    def __init__(self, model: Path, adapter: Path | None) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        dtype = getattr(torch, cpu.compute_dtype("bfloat16"))
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()
        if adapter is not None:
            from peft import PeftModel

            self._model = PeftModel.from_pretrained(self._model, str(adapter)).eval()

        self._generate([2, 3], 1)  # what is done once is done now

    def answer(self, requests: Sequence[Request], output_tokens: int) -> Round:
        """Answer the requests one after the other, `output_tokens` each."""
        finished, began = [], time.monotonic()
        for request in requests:
            self._generate(request.prompt, output_tokens)
            finished.append(time.monotonic() - began)
        return Round(
            finished=tuple(finished),
            computed_tokens=sum(len(request.prompt) for request in requests),
            output_tokens=output_tokens * len(requests),
        )

    def _generate(self, prompt: list[int], output_tokens: int) -> None:
        import torch

        with torch.inference_mode():
            self._model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                min_new_tokens=output_tokens,
                max_new_tokens=output_tokens,
            )
