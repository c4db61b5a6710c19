"""Bare vLLM: `LLM.generate` on ready token ids, with the engine settings that the job uses."""

import os
import time
from collections.abc import Sequence

from medsent.engine import watchdog
from medsent.engine.crash_report import CrashReport
from medsent.engine.protocol import Request
from medsent.engine.vllm import EnginePlan, adapters_of, arguments_of, footprint_of, sampling
from tests.bench.timing import Round


class BareVllm:
    """One engine that stays over the rounds, made in a process of its own."""

    def __init__(self, plan: EnginePlan) -> None:
        """Start the engine; `SystemExit` says why it did not start."""
        note = CrashReport()
        owner = {**watchdog.environment(), **note.environment()}
        os.environ.update({**plan.environment(), **owner})
        from vllm import LLM

        # Its statistics hold the time of each answer.
        arguments = {**arguments_of(plan), "disable_log_stats": False}
        try:
            self._llm = LLM(**arguments)
        except Exception as error:
            failure = note.did_not_start(error, footprint_of(plan, arguments))
            raise SystemExit(str(failure)) from error
        finally:
            note.remove()
        self._adapters = adapters_of(plan)

    def answer(self, requests: Sequence[Request]) -> Round:
        """Answer all requests, given at once, from an empty prefix cache."""
        if not self._llm.reset_prefix_cache():
            raise SystemExit("bare vLLM did not empty its prefix cache")
        began = time.monotonic()
        outputs = self._llm.generate(
            [{"prompt_token_ids": request.prompt} for request in requests],
            [sampling(request.ask) for request in requests],
            lora_request=[self._adapters.get(request.adapter or "") for request in requests],
            use_tqdm=False,
        )
        cached = sum(output.num_cached_tokens or 0 for output in outputs)
        return Round(
            finished=tuple(sorted(output.metrics.last_token_ts - began for output in outputs)),
            computed_tokens=sum(len(r.prompt) for r in requests) - cached,
            cached_tokens=cached,
            output_tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
        )
