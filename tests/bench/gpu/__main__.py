"""`make bench-gpu`: Gemma 3 12B's shapes on one GPU, against the limits of its matrix products.

Random weights: speed does not depend on their values, and answers are made as long as a trained
model's. The model is served as the job serves it: the text model alone, out of its wrapper.
Measures bare vLLM with an adapter of rank 16 beside the base model, merged, in FP8, and with
batch-invariant kernels; `ray.data.llm` with the same settings; and the job itself. Prints one
table and writes one JSON file, anew after each contender.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from medsent.console import quieten
from medsent.engine.vllm import has_gpu
from medsent.models.source import prepare_builtin
from tests.bench import machine
from tests.bench.gpu import contenders, shapes
from tests.bench.gpu.card import Card, Rates, stated_rates
from tests.bench.gpu.figures import figures_of, ratios, table
from tests.bench.gpu.measure import Bench, Measured
from tests.bench.limit import Shape, read_shape
from tests.bench.worker import Worker

_SWEEP: Final = ((256, 1024), (8192, 16384, 32768))
_TINY_SWEEP: Final = ((16, 64), (1024,))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one contender after the other, print the table and write the file."""
    options = _options(arguments)
    on_gpu = has_gpu()
    if not on_gpu and not options.tiny:
        print(
            "make bench-gpu needs an NVIDIA GPU and the lock requirements/gpu.txt; "
            'ARGS="--tiny" goes the same way with a small model, on a CPU too',
            file=sys.stderr,
        )
        return 2
    quieten()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        bench, told = _prepare(Path(folder), options, on_gpu)
        rows: list[Measured] = []
        for row in _rows(bench, options):
            rows.append(row)
            speed = row.failed or ", ".join(f"{rate:,.1f}" for rate in row.rates) + " answers/s"
            print(f"  {row.contender}, {row.who}, {row.method}: {speed}", flush=True)
            told["minutes"] = (time.monotonic() - began) / 60
            _write(options, told, rows, read_shape(bench.model))
    print("\n".join(report(json.loads(options.output.read_text(encoding="utf-8")))))
    print(options.output)
    return 0 if any(row.rates for row in rows) else 1


def report(found: dict[str, Any]) -> list[str]:
    """Return what the file holds as Markdown."""
    versions = ", ".join(f"{name} {which}" for name, which in found["machine"]["versions"].items())
    lines = ["", f"{found['card']['name']}; {found['model']}; {versions}", ""]
    for kind in ("measured", "stated"):
        rates = {name: rate for name, rate in found[kind].items() if rate is not None}
        words = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in rates.items())
        lines.append(f"Matrix products, {kind}: {words or 'unknown'}")
    lines += ["", *table(found["rows"]), ""]
    lines += [f"- {what}: {ratio:.3g}" for what, ratio in found["ratios"].items()]
    return [*lines, "", f"{found['minutes']:.0f} minutes."]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("bench-gpu.json"))
    parser.add_argument(
        "--only", action="append", choices=contenders.NAMES, help="just this one; may be repeated"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="sequences at a time and tokens of a step, too"
    )
    parser.add_argument("--price-per-hour", type=float, help="of the GPU, in any currency")
    parser.add_argument(
        "--peak-tflops",
        type=float,
        nargs="+",
        metavar=("BF16", "FP8"),
        help="the card's dense rates, where its vendor's are not known here",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a small model and few records: does all of it run?"
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        help="a folder with Gemma's tokenizer; the embedded model's if not",
    )
    return parser.parse_args(arguments)


def _prepare(
    folder: Path, options: argparse.Namespace, on_gpu: bool
) -> tuple[Bench, dict[str, Any]]:
    """Write the model and the adapter, and ask the card; return what the file begins with too."""
    text = shapes.TEXT_TINY if options.tiny else shapes.TEXT_12B
    wrapper = shapes.serves_wrapper()
    tokenizer = options.tokenizer or prepare_builtin()
    model = shapes.write_model(folder / "model", text, tokenizer, wrapper)
    adapter = shapes.write_adapter(folder / "adapter", text, wrapper)
    with Worker(Card, "cuda" if on_gpu else "cpu", as_engine=not on_gpu) as card:
        name, memory = card.ask("name"), card.ask("memory_gib")
        measured = card.ask("rates", read_shape(model))
        quantization = card.ask("quantization")
    traffic = contenders.TINY_TRAFFIC if options.tiny else contenders.TRAFFIC
    bench = Bench(
        folder=folder,
        model=model,
        adapter=adapter,
        device="gpu" if on_gpu else "cpu",
        quantization=quantization,
        traffic=traffic,
        rounds=options.rounds,
    )
    return bench, {
        "machine": machine.describe(),
        "card": {"name": name, "memory_gib": memory},
        "model": f"{'a tiny model' if options.tiny else 'Gemma 3 12B'}'s shapes, "
        f"{'the text model out of its wrapper' if wrapper else 'the text model alone'}",
        "adapter_rank": shapes.RANK,
        "price_per_hour": options.price_per_hour,
        "measured": asdict(measured),
        "stated": asdict(_stated(name, options.peak_tflops)),
        "settings": {
            each.name: {key: _told(value) for key, value in bench.arguments(each).items()}
            for each in bench.contenders
        },
    }


def _told(value: Any) -> str:
    """Return an argument of vLLM's; of a function with its arguments just these."""
    return str(getattr(value, "keywords", value))


def _stated(name: str, given: list[float] | None) -> Rates:
    if given is None:
        return stated_rates(name)
    return Rates(given[0] * 1e12, given[1] * 1e12 if len(given) > 1 else None)


def _rows(bench: Bench, options: argparse.Namespace) -> Iterator[Measured]:
    chosen = options.only or contenders.NAMES
    for contender in bench.contenders:
        if contender.name in chosen:
            yield from bench.engine(contender)
    if contenders.PEER in chosen:
        yield from bench.peer()
    if contenders.JOB in chosen:
        yield from bench.job()
    if options.sweep:
        for contender in contenders.sweep(*(_TINY_SWEEP if options.tiny else _SWEEP)):
            yield from bench.engine(contender)


def _write(
    options: argparse.Namespace, told: dict[str, Any], rows: list[Measured], shape: Shape
) -> None:
    measured, stated = Rates(**told["measured"]), Rates(**told["stated"])
    figures = [
        {
            **row.model_dump(),
            **figures_of(row, shape, measured, stated, options.price_per_hour),
        }
        for row in rows
    ]
    found = {**told, "rows": figures, "ratios": ratios(rows)}
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
