"""What the bench claims, worked out from rounds whose speeds are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.bench import peer
from tests.bench.__main__ import main, summary, tables
from tests.bench.figures import Goal, engine_goals, orchestration_goal, pool_goals
from tests.bench.gpu.shapes import TEXT_12B, write_model
from tests.bench.job import Job
from tests.bench.limit import limit, operations, read_shape
from tests.bench.measured import Measured
from tests.bench.orchestration import Cost, Look, cost_of
from tests.bench.pool import Pool, pool_of
from tests.bench.rounds import BASE, RECORDS, SHARING, AgainstPeer, Found
from tests.bench.timing import Edges, Round, median_ratio
from tests.bench.workload import ADAPTED

SLOW_START_S = 100.0


def at_rate(rate: float, answers: int, **tokens: int) -> Round:
    """Return answers at an even rate, the first after a slow start."""
    return Round(tuple(SLOW_START_S + n / rate for n in range(answers)), **tokens)


def warm(rate: float, answers: int) -> Round:
    """Return answers at an even rate from the first request on."""
    return Round(tuple((n + 1) / rate for n in range(answers)), 3200, 6400)


def job(rate: float, answers: int, whole_s: float = 60.0, name: str = BASE) -> Job:
    found = at_rate(rate, answers)
    return Job(whole_s, 20.0, {name: found}, found)


def found(bare: float = 20.0, adapted: float = 20.0, persona: float = 5.0) -> Found:
    """Return a round in which the job answers 20 a second, 1 by `json`."""
    speeds = {"json": 1.0, "bits": 5.0, "onepass": 20.0}
    return Found(
        bare={name: at_rate(speeds[name] * bare / 20, n) for name, n in RECORDS.items()},
        jobs={name: job(speeds[name], n) for name, n in RECORDS.items()},
        adapted=job(adapted, RECORDS["onepass"], name=ADAPTED),
        both=job(20.0, 2 * RECORDS["onepass"], whole_s=84.0),
        peer=Round(at_rate(16.0, 2 * RECORDS["onepass"]).finished, whole_s=105.0),
        alone={BASE: Round((4.0, 8.0)), ADAPTED: Round((5.0, 10.0))},
        orders={
            order: {readers: warm(rate, 320) for readers in SHARING}
            for order, rate in (("opinion", 20.0), ("persona", persona))
        },
    )


def figures(*rounds: Found) -> dict[str, float]:
    return {goal.what: goal.figure for goal in engine_goals(rounds)}


def test_ratios_are_of_the_steady_part_and_taken_within_a_round() -> None:
    # The second round ran on a machine half as fast, for all.
    slow = found(bare=25.0)
    values = figures(found(bare=25.0), slow, found(bare=25.0))
    assert values["the job against bare vLLM, onepass"] == pytest.approx(0.8)
    assert values["the job against ray.data.llm, steady"] == pytest.approx(20 / 16)
    assert values["ray.data.llm's time against the job's, whole process"] == pytest.approx(105 / 84)
    assert values["onepass against json, per record"] == pytest.approx(20)
    assert values["onepass against transformers one at a time, per record"] == pytest.approx(80)
    assert values["the adapter's slowdown"] == pytest.approx(1)
    assert values["608 records, both in one engine against two runs, whole process"] == (
        pytest.approx(84 / 120)
    )
    assert values["the same in steady state"] == pytest.approx(1)
    assert values["opinion before persona, 16 readers an opinion"] == pytest.approx(4)
    assert median_ratio([10, 5, 10], [20, 10, 20]) == 0.5


def test_answers_in_bunches_are_counted_between_ends_of_steps() -> None:
    # Each second a step of 20 answers, told within some milliseconds; then it dies down.
    steps = [SLOW_START_S + step + each / 4000 for step in range(10) for each in range(20)]
    ending = [SLOW_START_S + 10 + 2 * each for each in range(10)]
    answers = Round((*steps, *ending))
    for warm in (1, 19, 20, 21, 45):
        for left in (10, 11, 25, 30):
            assert answers.steady_rate(Edges(warm, left)) == pytest.approx(20)
    assert answers.steady_rate(Edges(1, 0)) < 10


def test_a_slow_adapter_shows_in_its_slowdown() -> None:
    assert figures(found(adapted=10.0))["the adapter's slowdown"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal("", 0.95, at_least=0.95), True),
        (Goal("", 0.94, at_least=0.95), False),
        (Goal("", 1.03, at_most=1.03), True),
        (Goal("", 1.04, at_most=1.03), False),
    ],
)
def test_what_is_short_of_its_goal_is_not_reached(goal: Goal, reached: bool) -> None:
    assert goal.reached is reached


def test_the_steady_part_around_a_scripted_engine() -> None:
    # Nothing at first, then 100 records a second by half a core, and a core and a half of engine.
    looks = [Look(float(s), 100 * max(0, s - 10), s / 2, 1.5 * s) for s in range(111)]
    cost = cost_of(looks, 10_000)
    assert cost.records_per_s == pytest.approx(100)
    assert cost.records_per_core_s == pytest.approx(200)
    assert cost.engine_core_s_per_record == pytest.approx(0.015)


def test_the_limit_counts_what_an_answer_needs(tmp_path: Path) -> None:
    config = {
        "hidden_size": 4,
        "head_dim": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 8,
        "num_hidden_layers": 5,
        "vocab_size": 100,
    }
    (tmp_path / "config.json").write_text(json.dumps({"text_config": config}))
    shape = read_shape(tmp_path)
    layer = 4 * (6 + 2 + 2) + 6 * 4 + 4 * 16 + 8 * 4
    assert (shape.layer_parameters, shape.output_parameters) == (5 * layer, 400)
    assert limit(shape, 2e6, 10) == pytest.approx(2e6 / (2 * (5 * layer * 10 + 400)))
    # Three tokens written: two of them go through the layers as well, each through the output.
    assert operations(shape, 10, 3) == 2 * (5 * layer * 12 + 3 * 400)


def test_the_tables_leave_nothing_out_that_fell_short(tmp_path: Path) -> None:
    measured = Measured(
        machine={"processor": "P", "cores": 2, "memory_gib": 24.0, "versions": {"ray": "2"}},
        minutes=2.0,
        matrix_operations_per_s=1e6,
        costs={replicas: [Cost(4000.0, 4500.0, 2e-5)] for replicas in (1, 2)},
        pools=[Pool(engines=8, minimum=1, started_s=2.0, records_per_s=2800.0)],
        rounds=[found(bare=40.0)],
    )
    # As it is read again from the file that is kept.
    measured = Measured.model_validate_json(measured.model_dump_json())
    goals = [*engine_goals(measured.rounds), orchestration_goal(measured.costs)]
    goals += pool_goals(measured.pools)
    model = write_model(tmp_path / "model", TEXT_12B, tmp_path, wrapper=False)
    text = "\n".join(tables(summary(measured, model)))
    assert "P, 2 cores, 24.0 GiB" in text
    assert "| the job against bare vLLM, json | 0.5 | >= 0.95 | **missed** |" in text
    assert "| records/s a core around the engine | 4,500 | >= 5000 | **missed** |" in text
    assert "| 8 | 1 | 2,800 | 0.88 | 2.0 s |" in text
    assert "| onepass against json, per record | 20 | >= 10 | reached |" in text
    assert "| medsent, both in one engine | 20 | " in text
    assert "| 16 | opinion | 20 | 10 | 20 |" in text
    assert text.count("missed") == sum(not goal.reached for goal in goals)


def test_a_pools_rate_is_that_of_whole_rounds_of_all_its_engines() -> None:
    # One engine answers from the start, one from two seconds on; each 256 records in 0.64 s.
    ends = [(name, late + 0.64 * turn) for name, late in (("a", 0), ("b", 2)) for turn in range(20)]
    replicas = np.array([name for name, _ in ends for _ in range(256)])
    finished = np.array([end + 0.64 for _, end in ends for _ in range(256)])
    pool = pool_of(finished, np.full(len(finished), 0.64), replicas, engines=2, minimum=1)
    assert pool.started_s == pytest.approx(2)
    assert pool.of_all == pytest.approx(1, abs=0.05)
    with pytest.raises(SystemExit, match="of at most 3 engines, 2 answered"):
        pool_of(finished, np.full(len(finished), 0.64), replicas, engines=3, minimum=1)


class ScriptedContenders:
    def __init__(self, folder: Path, model: Path) -> None:
        assert folder.is_dir()

    def against_peer(self) -> AgainstPeer:
        whole = found()
        return AgainstPeer(whole.both, whole.peer)


def test_the_peer_alone_makes_the_claims_that_the_whole_bench_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "Contenders", ScriptedContenders)
    output = tmp_path / "bench.json"
    assert main(["--only=peer", "--rounds=2", f"--output={output}"]) == 0
    told = {goal["what"]: goal["figure"] for goal in json.loads(output.read_text())["goals"]}
    assert told.keys() <= figures(found()).keys()
    assert told["the job against ray.data.llm, steady"] == pytest.approx(20 / 16)
    printed = capsys.readouterr().out
    assert "| ray.data.llm, both | 16 | " in printed
    assert "| medsent, both in one engine | 20 | " in printed
