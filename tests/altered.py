"""A scorer whose engine answers in another way than it would by itself."""

from collections.abc import Awaitable, Callable
from typing import Any

from medsent.engine.protocol import Completion, Engine, Request
from medsent.scoring.plan import Plan
from medsent.scoring.scorer import Scorer


def scorer_whose_engine(
    completes: Callable[[Engine, Request], Awaitable[Completion]],
) -> type[Scorer]:
    """Return a scorer class; `completes` answers a request in the place of the engine it gets.

    The class is made in here so that Ray pickles it by value for its actors. For the same reason
    `completes` must be defined within a function.
    """

    class Altered:
        def __init__(self, engine: Engine) -> None:
            self._engine = engine
            self.max_num_seqs = engine.max_num_seqs

        async def complete(self, request: Request) -> Completion:
            return await completes(self._engine, request)

        def kill(self) -> None:
            self._engine.kill()

        def close(self) -> None:
            self._engine.close()

    class AlteredScorer(Scorer):
        def _start(self, plan: Plan) -> Any:
            bound_variants, engine = super()._start(plan)
            return bound_variants, Altered(engine)

    return AlteredScorer
