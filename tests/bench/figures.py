"""The figures that a bench claims: medians over the rounds, ratios first, each beside its goal."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medsent.config.methods import MethodName
from tests.bench.limit import Shape, limit
from tests.bench.orchestration import Cost
from tests.bench.pool import Pool
from tests.bench.rounds import BASE, BOTH_EDGES, EDGES, RECORDS, SHARING, AgainstPeer, Found
from tests.bench.timing import Edges, Round, median, median_ratio
from tests.bench.workload import ADAPTED


@dataclass(frozen=True)
class Goal:
    """One claim."""

    what: str
    figure: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the figure is on the goal's side."""
        low = self.at_least is None or self.figure >= self.at_least
        return low and (self.at_most is None or self.figure <= self.at_most)

    @property
    def bound(self) -> str:
        """The goal in words."""
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


def told(goals: Sequence[Goal]) -> list[dict[str, Any]]:
    """Return the claims as `bench.json` holds them."""
    return [
        {"what": g.what, "figure": g.figure, "goal": g.bound, "reached": g.reached} for g in goals
    ]


def engine_goals(rounds: Sequence[Found]) -> list[Goal]:
    """Return the claims about engines, contenders, adapters and prompts."""
    one, json = EDGES["onepass"], EDGES["json"]
    jobs = [found.jobs for found in rounds]
    onepass = [job["onepass"].rounds[BASE].steady_rate(one) for job in jobs]
    by_json = [job["json"].rounds[BASE].steady_rate(json) for job in jobs]
    alone = [found.alone[BASE].rate for found in rounds]
    together = [found.both.together.steady_rate(BOTH_EDGES) for found in rounds]
    adapted = [found.adapted.rounds[ADAPTED].steady_rate(one) for found in rounds]
    whole = [found.both.whole_s for found in rounds]
    apart = [f.jobs["onepass"].whole_s + f.adapted.whole_s for f in rounds]
    steady_apart = [1 / a + 1 / b for a, b in zip(onepass, adapted, strict=True)]
    return [
        *(_against_bare(rounds, name) for name in RECORDS),
        *peer_goals(rounds),
        Goal("onepass against json, per record", median_ratio(onepass, by_json), at_least=10),
        Goal(
            "onepass against transformers one at a time, per record",
            median_ratio(onepass, alone),
            at_least=20,
        ),
        Goal("the adapter's slowdown", median_ratio(onepass, adapted), at_most=1.25),
        Goal(
            f"{RECORDS['onepass']} records, both in one engine against two runs, whole process",
            median_ratio(whole, apart),
            at_most=0.75,
        ),
        Goal(
            "the same in steady state",
            median_ratio([2 / rate for rate in together], steady_apart),
            at_most=1.03,
        ),
        Goal(
            "opinion before persona, 16 readers an opinion",
            _order_gain(rounds, 16),
            at_least=2.5,
        ),
    ]


def peer_goals(rounds: Sequence[Found | AgainstPeer]) -> list[Goal]:
    """Return the claims about the job and `ray.data.llm`, baseline and adapter in one engine."""
    together = [found.both.together.steady_rate(BOTH_EDGES) for found in rounds]
    peer = [found.peer.steady_rate(BOTH_EDGES) for found in rounds]
    times = [found.peer.whole_s for found in rounds], [found.both.whole_s for found in rounds]
    return [
        Goal("the job against ray.data.llm, steady", median_ratio(together, peer), at_least=1),
        Goal(
            "ray.data.llm's time against the job's, whole process",
            median_ratio(*times),
            at_least=1,
        ),
    ]


def peer_rates(rounds: Sequence[Found | AgainstPeer]) -> list[dict[str, Any]]:
    """Return a row for the job and one for `ray.data.llm`, baseline and adapter in one engine."""
    both = [(found.both.together, BOTH_EDGES) for found in rounds]
    peer = [(found.peer, BOTH_EDGES) for found in rounds]
    whole = median([found.both.whole_s for found in rounds])
    starts = median([found.both.start_s for found in rounds])
    peer_whole = median([found.peer.whole_s for found in rounds])
    return [
        _row("medsent, both in one engine", both, start_s=starts, whole_s=whole),
        _row("ray.data.llm, both", peer, whole_s=peer_whole),
    ]


def orchestration_goal(costs: dict[int, list[Cost]]) -> Goal:
    """Return the claim about everything around the engine."""
    figure = median([cost.records_per_core_s for cost in costs[1]])
    return Goal("records/s a core around the engine", figure, at_least=5000)


def pool_goals(pools: Sequence[Pool]) -> list[Goal]:
    """Return the claim about a pool of the most engines, all at once and from one on."""
    most = max((pool.engines for pool in pools), default=0)
    return [
        Goal(
            f"{most} engines against {most} times one, the pool from {pool.minimum} on",
            pool.of_all,
            at_least=0.9,
        )
        for pool in pools
        if pool.engines == most
    ]


def rates(rounds: Sequence[Found], bare_start_s: float) -> list[dict[str, Any]]:
    """Return a row for each contender: answers/s with warm-up outside and inside, and starts.

    Who stays over the rounds has its warm-up behind it.
    """
    rows = []
    for name, edges in EDGES.items():
        bare, job = [f.bare[name] for f in rounds], [f.jobs[name].rounds[BASE] for f in rounds]
        starts = median([found.jobs[name].start_s for found in rounds])
        steady = median([each.steady_rate(edges) for each in bare])
        rows.append({"who": f"bare vLLM, {name}", "steady": steady, "start_s": bare_start_s})
        rows.append(_row(f"medsent, {name}", [(r, edges) for r in job], start_s=starts))
    one = EDGES["onepass"]
    adapted = [(found.adapted.rounds[ADAPTED], one) for found in rounds]
    rows.append(_row("medsent, onepass, adapter", adapted))
    rows.extend(peer_rates(rounds))
    for name in (BASE, ADAPTED):
        rate = median([found.alone[name].rate for found in rounds])
        rows.append({"who": f"transformers, {name}", "steady": rate})
    return rows


def orders(rounds: Sequence[Found], shape: Shape, operations_per_s: float) -> list[dict[str, Any]]:
    """Return a row for each prompt order and number of readers, with its tokens and its limit.

    Bare vLLM has been at work before, so that all of its answers count.
    """
    rows = []
    for readers in SHARING:
        for order in ("persona", "opinion"):
            found = [each.orders[order][readers] for each in rounds]
            rate = median([each.rate for each in found])
            answers = len(found[0].finished)
            computed = found[0].computed_tokens / answers
            most = limit(shape, operations_per_s, computed)
            rows.append(
                {
                    "readers": readers,
                    "first": order,
                    "answers_per_s": rate,
                    "computed_tokens": computed,
                    "cached_tokens": found[0].cached_tokens / answers,
                    "limit_per_s": most,
                    "of_limit": rate / most,
                }
            )
    return rows


def growth(costs: dict[int, list[Cost]]) -> list[dict[str, Any]]:
    """Return a row for each number of scripted engines, medians over the rounds."""
    return [
        {
            "replicas": replicas,
            **{name: median([asdict(each)[name] for each in found]) for name in asdict(found[0])},
        }
        for replicas, found in costs.items()
    ]


def _against_bare(rounds: Sequence[Found], name: MethodName) -> Goal:
    edges = EDGES[name]
    ours = [found.jobs[name].rounds[BASE].steady_rate(edges) for found in rounds]
    bare = [found.bare[name].steady_rate(edges) for found in rounds]
    return Goal(f"the job against bare vLLM, {name}", median_ratio(ours, bare), at_least=0.95)


def _order_gain(rounds: Sequence[Found], readers: int) -> float:
    by_order = [
        [found.orders[order][readers].rate for found in rounds] for order in ("opinion", "persona")
    ]
    return median_ratio(*by_order)


def _row(who: str, rounds: Sequence[tuple[Round, Edges]], **more: float) -> dict[str, Any]:
    return {
        "who": who,
        "steady": median([each.steady_rate(edges) for each, edges in rounds]),
        "warm_up_inside": median([each.rate for each, _ in rounds]),
        **more,
    }
