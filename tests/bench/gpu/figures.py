"""What was measured, as a user's figures: tokens, shares of limits, opinions and money."""

from collections.abc import Sequence
from typing import Any

from tests.bench.gpu.card import Rates
from tests.bench.gpu.contenders import SHARED, TRAFFIC
from tests.bench.gpu.measure import Measured
from tests.bench.limit import Shape, limit
from tests.bench.timing import median

_HOUR_S = 3600
_MILLION = 1e6


def figures_of(
    found: Measured, shape: Shape, measured: Rates, stated: Rates, price_per_hour: float | None
) -> dict[str, float | None]:
    """Return a row's figures; None where one cannot be had.

    An opinion has as many answers as readers, and twice as many where base and adapter answer.
    """
    if not found.rates:
        return {}
    rate = median(found.rates)
    answers = found.readers * (2 if found.who == "both" else 1)
    opinions = rate * _HOUR_S / answers
    return {
        "answers_per_s": rate,
        "computed_tokens_per_s": _times(rate, found.computed_tokens),
        "cached_tokens_per_s": _times(rate, found.cached_tokens),
        "output_tokens_per_s": _times(rate, found.output_tokens),
        "of_measured_limit": _share(rate, found, shape, measured),
        "of_stated_limit": _share(rate, found, shape, stated),
        "opinions_per_hour": opinions,
        "price_per_million_opinions": price_per_hour and price_per_hour * _MILLION / opinions,
    }


def ratios(rows: Sequence[Measured]) -> dict[str, float]:
    """Return what an adapter and the job cost, by `onepass` with shared opinions; what is known."""
    rates = {
        (row.contender, row.who): median(row.rates)
        for row in rows
        if row.rates and (row.method, row.readers) == _SHARED
    }
    pairs = {
        "the adapter's slowdown against the base model in the same engine": (
            ("lora", "base"),
            ("lora", "adapter"),
        ),
        "the adapter's slowdown against a merged model": (("merged", "base"), ("lora", "adapter")),
        "FP8 against bf16, merged": (("fp8", "base"), ("merged", "base")),
        "FP8 against bf16, adapter": (("fp8-lora", "adapter"), ("lora", "adapter")),
        "batch-invariant against vLLM's fastest kernels, adapter": (
            ("batch-invariant", "adapter"),
            ("lora", "adapter"),
        ),
        "the job against bare vLLM, base and adapter": (("job", "both"), ("lora", "both")),
        "the job against ray.data.llm, base and adapter": (
            ("job", "both"),
            ("ray.data.llm", "both"),
        ),
    }
    return {
        what: rates[above] / rates[below]
        for what, (above, below) in pairs.items()
        if above in rates and below in rates
    }


_SHARED = (TRAFFIC[SHARED].method, TRAFFIC[SHARED].readers)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return rows of measured and figures as Markdown; one that failed says why."""
    heads = (
        "engine",
        "answers of",
        "weights",
        "method",
        "readers",
        "answers/s",
        "tokens/s computed",
        "cached",
        "output",
        "of measured limit",
        "of stated limit",
        "opinions/h",
        "price of a million opinions",
    )
    lines = [_line(heads), _line(("---",) * 4 + ("--:",) * 9)]
    for row in rows:
        weights = "FP8" if row["eight_bits"] else "bf16"
        named = (row["contender"], row["who"], weights, row["method"], str(row["readers"]))
        if row["failed"]:
            lines.append(_line((*named, f"failed: {row['failed']}", *("",) * 7)))
            continue
        speeds = ("answers", "computed_tokens", "cached_tokens", "output_tokens")
        shares = ("of_measured_limit", "of_stated_limit")
        lines.append(
            _line(
                (
                    *named,
                    *(_shown(row[f"{name}_per_s"]) for name in speeds),
                    *("" if row[name] is None else f"{row[name]:.0%}" for name in shares),
                    _shown(row["opinions_per_hour"]),
                    _shown(row["price_per_million_opinions"]),
                )
            )
        )
    return lines


def _line(cells: Sequence[str]) -> str:
    safe = (" ".join(cell.split()).replace("|", "/") for cell in cells)
    return f"| {' | '.join(safe)} |"


def _times(rate: float, tokens: float | None) -> float | None:
    return None if tokens is None else rate * tokens


def _share(rate: float, found: Measured, shape: Shape, rates: Rates) -> float | None:
    most = rates.of(found.eight_bits)
    if most is None or found.computed_tokens is None:
        return None
    return rate / limit(shape, most, found.computed_tokens, found.output_tokens or 1)


def _shown(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
