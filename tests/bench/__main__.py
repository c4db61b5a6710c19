"""`make bench`: is the engine the only limit? Every contender in one run, on the same prompts.

A round lets each answer once: bare vLLM, the job, ray.data.llm, transformers one at a time,
baseline and adapter together and apart, both orders of the prompt. Figures are medians over
the rounds, and ratios are taken within a round. Prints tables and writes `bench.json`. Leave
the machine alone meanwhile: everything here uses all cores.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsent.console import printing, quieten
from medsent.models.source import prepare_builtin
from tests.bench import figures, machine, peer, pool
from tests.bench.limit import read_shape
from tests.bench.measured import Measured, measure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds, print the tables, write the file."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    parser.add_argument(
        "--read", type=Path, help="take what was measured from this file: bench.measured.json"
    )
    parser.add_argument(
        "--only",
        choices=("peer", "pool"),
        help="measure a part alone: the job beside ray.data.llm, or the pool",
    )
    options = parser.parse_args(arguments)
    quieten()
    with printing():
        model = prepare_builtin()
    if options.only == "pool":
        return _only_pool(options.output, model)
    if options.only == "peer":
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            found = peer.compare(Path(folder), model, options.rounds)
        return _told(found, [*goal_lines(found), *rate_lines(found)], options.output)
    if options.read is not None:
        measured = Measured.model_validate_json(options.read.read_bytes())
    else:
        kept = options.output.with_suffix(".measured.json")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            measured = measure(Path(folder), model, options.rounds, kept)
    found = summary(measured, model)
    return _told(found, tables(found), options.output)


def _told(found: dict[str, Any], lines: list[str], output: Path) -> int:
    output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(output)
    return 0


def _only_pool(output: Path, model: Path) -> int:
    """Measure the pools and write them where the whole bench would."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = [pool.row(each) for each in pool.measure(Path(folder), model)]
    found = {"machine": machine.describe(), "pools": rows}
    return _told(found, pool.table(rows), output)


def summary(measured: Measured, model: Path) -> dict[str, Any]:
    """Return what `bench.json` holds: goals first, then what they are made from."""
    rounds, operations = measured.rounds, measured.matrix_operations_per_s
    goals = [
        *figures.engine_goals(rounds),
        figures.orchestration_goal(measured.costs),
        *figures.pool_goals(measured.pools),
    ]
    return {
        "machine": measured.machine,
        "rounds": len(rounds),
        "minutes": measured.minutes,
        "matrix_operations_per_s": operations,
        "goals": figures.told(goals),
        "rates": figures.rates(rounds, measured.bare_start_s),
        "orders": figures.orders(rounds, read_shape(model), operations),
        "scripted": figures.growth(measured.costs),
        "pools": [pool.row(each) for each in measured.pools],
    }


def tables(found: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown: claims beside their goals, then what they are made from."""
    machine, operations = found["machine"], found["matrix_operations_per_s"]
    versions = ", ".join(f"{name} {which}" for name, which in machine["versions"].items())
    lines = [
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{operations / 1e9:,.0f} GFLOP/s in products of the model's matrices; {versions}",
    ]
    lines += [*goal_lines(found), *rate_lines(found)]
    lines += [
        "",
        "| readers an opinion | first | answers/s | tokens computed | cached | of limit |",
    ]
    lines.append("|--:|---|--:|--:|--:|--:|")
    for row in found["orders"]:
        tokens = f"{row['computed_tokens']:.0f} | {row['cached_tokens']:.0f}"
        lines.append(
            f"| {row['readers']} | {row['first']} | {_shown(row['answers_per_s'])} | {tokens} | "
            f"{row['of_limit']:.0%} |"
        )
    lines += [
        "",
        "| scripted engines | records/s | records/s a core around them |",
        "|--:|--:|--:|",
    ]
    for row in found["scripted"]:
        lines.append(
            f"| {row['replicas']} | {row['records_per_s']:,.0f} | "
            f"{row['records_per_core_s']:,.0f} |"
        )
    lines += ["", *pool.table(found["pools"]), ""]
    lines.append(f"{found['rounds']} rounds, {found['minutes']:.0f} minutes.")
    return lines


def goal_lines(found: dict[str, Any]) -> list[str]:
    """Return the claims beside their goals."""
    lines = ["", "| | figure | goal | |", "|---|--:|--:|---|"]
    for goal in found["goals"]:
        reached = "reached" if goal["reached"] else "**missed**"
        lines.append(f"| {goal['what']} | {_shown(goal['figure'])} | {goal['goal']} | {reached} |")
    return lines


def rate_lines(found: dict[str, Any]) -> list[str]:
    """Return each contender's answers a second, and what starts and whole processes took."""
    lines = ["", "| answers/s | steady | warm-up inside | engine's start | whole process |"]
    lines.append("|---|--:|--:|--:|--:|")
    for row in found["rates"]:
        inside = _shown(row["warm_up_inside"]) if "warm_up_inside" in row else ""
        seconds = (f"{row[k]:.0f} s" if k in row else "" for k in ("start_s", "whole_s"))
        cells = (row["who"], _shown(row["steady"]), inside, *seconds)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


if __name__ == "__main__":
    sys.exit(main())
