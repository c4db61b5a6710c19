"""vLLM's processes on a CPU, forked from one that has imported vLLM: seconds, not half a minute.

vLLM spawns two processes there, one after the other, and each imports torch and vLLM anew.
Here a server of multiprocessing's imports them once, while the owner does; the engine's core
is forked from the server, and its worker from the core. Intel's OpenMP reads its variables
again after a fork, so that the worker's threads are bound as vLLM asks; where another one is
in use, and on a GPU, vLLM starts its processes itself.
"""

import os
from multiprocessing import context, forkserver
from typing import Any, Final

_FORKED: Final = "MEDSENT_ENGINE_FORKED"

_PRELOADED: Final = [
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.gemma3",
    "xgrammar",
]


class _Process(context.ForkServerProcess):
    """Takes its owner's variables along: the server has those of its own start."""

    def start(self) -> None:
        self._variables = dict(os.environ)
        super().start()

    def run(self) -> None:
        os.environ.update(self._variables)
        super().run()


class _Context(context.ForkServerContext):
    Process = _Process


def environment() -> dict[str, str]:
    """Return the variable by which owner and processes of an engine know that they fork.

    Empty where they do not. To be asked once the engine's other variables are set.
    """
    return {_FORKED: "1"} if "libiomp5" in os.environ.get("LD_PRELOAD", "") else {}


def begin() -> None:
    """Start the server where this engine's processes are to be forked.

    It and all that it forks keep the variables that are set now.
    """
    if _FORKED in os.environ:
        _Context().set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()


def register() -> None:
    """Make vLLM fork in the owner and in the core of such an engine; a `vllm.general_plugins` hook.

    vLLM's own ways are `spawn`, which it insists on for a CPU, and `fork`, which would copy
    the locks of an owner's threads.
    """
    if _FORKED not in os.environ:
        return
    from vllm.v1.engine import utils as core_starter
    from vllm.v1.executor import multiproc_executor as worker_starter

    ways: dict[Any, Any] = {core_starter: _Context, worker_starter: context.ForkContext}
    for starter, way in ways.items():
        starter.get_mp_context = way
