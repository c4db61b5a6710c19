"""What a scorer has where it runs: Ray around it, and the start of its engine."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn

import ray

from medsent.config.engine import ScriptedSettings
from medsent.engine.events import Event
from medsent.engine.footprint import Footprint
from medsent.engine.protocol import Engine
from medsent.engine.scripted.engine import ScriptedEngine
from medsent.engine.supervised import SupervisedEngine
from medsent.engine.vllm import VllmEngine
from medsent.models.source import load_tokenizer
from medsent.scoring.bound_variant import BoundVariant, bind_variants
from medsent.scoring.plan import Plan

Tell = Callable[[Event], None]


class Actor:
    """An actor of Ray; a test may have another."""

    @property
    def name(self) -> str:
        """The first six characters of its node's id and of its own, with a hyphen between."""
        context = ray.get_runtime_context()
        return f"{context.get_node_id()[:6]}-{(context.get_actor_id() or '')[:6]}"

    @property
    def gpus(self) -> list[int | str]:
        """The GPUs that are its own, as CUDA_VISIBLE_DEVICES names them."""
        return list(ray.get_gpu_ids())

    @property
    def is_replacement(self) -> bool:
        """Whether it stands in for one that ended."""
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)

    def wait(self, answer: Any) -> Any:
        """Return what another actor answers, once it does."""
        return ray.get(answer)

    def end(self) -> NoReturn:
        """End this process: Ray makes another actor, elsewhere where this node is broken."""
        os._exit(1)

    def start(self, plan: Plan, tell: Tell) -> tuple[tuple[BoundVariant, ...], Engine]:
        """Bind the variants and start the engine; `tell` is called with each engine event."""
        folder = plan.model_on_this_node()
        settings = plan.config.engine
        start: Callable[[Footprint | None], Engine]
        if isinstance(settings, ScriptedSettings):
            start = partial(ScriptedEngine, settings)
        else:
            start = partial(VllmEngine, plan.engine_plan(settings, folder))
        with ThreadPoolExecutor(1) as aside:  # a tokenizer takes as long as a model to load
            bound_variants = aside.submit(lambda: bind_variants(plan, load_tokenizer(folder)))
            engine = SupervisedEngine(start, settings.supervision, tell)
            try:
                return bound_variants.result(), engine
            except BaseException:
                engine.close()
                raise
