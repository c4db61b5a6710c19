"""`make bench-repeats`: which answers flip when the same records are asked again.

The demo's job, `onepass` with the base model and with the adapter, under the real engine: many
requests at a time, where the batches differ from one time to the next, and one at a time, where
nothing differs. Each number of requests is a job of its own, asked twice. Returns 1 where an
answer flipped with one request at a time.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from medsent.commands.repeat import evaluate_repeatedly
from medsent.config.job import load_config
from medsent.console import printing, quieten
from medsent.demo.data import write_split
from medsent.demo.job import DATA
from medsent.metrics.model import read_metrics
from medsent.metrics.repeats import Repeats

_ONE, _MANY = 1, 64
_JOB = Path("jobs/demo.yaml")
_READERS = 4
"""Records of an opinion in the demo's data."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask twice with each number of requests at a time, and print what flipped."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.repeats", description=__doc__)
    parser.add_argument("--records", type=int, default=160)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--dtype", default="auto", help="of the model's weights and sums")
    options = parser.parse_args(arguments)
    quieten()
    lines = ["| requests at a time | variant | records | flipped | labels flipped | macro F1 |"]
    lines.append("|--:|---|--:|--:|--:|--:|")
    wrong = False
    for most in (_MANY, _ONE):
        with tempfile.TemporaryDirectory(prefix="bench-repeats-") as folder, printing():
            found = _asked(options, most, Path(folder))
        for name, each in found.variants.items():
            flips = sum(label.flips for label in each.labels.values())
            macro = each.overall["macro_f1"]
            lines.append(
                f"| {most} | {name} | {each.answered:,} | {each.flipped} | {flips} | "
                f"{macro.low} to {macro.high} |"
            )
            wrong |= most == _ONE and (each.flipped or each.sometimes_answered) > 0
    print("\n".join(lines))
    return int(wrong)


def _asked(options: argparse.Namespace, most: int, folder: Path) -> Repeats:
    """Return what so many requests at a time changed, in runs below a folder."""
    write_split("test", DATA)
    settings = [
        f"input.limit={options.records // _READERS}",
        f"engine.max_num_seqs={most}",
        f"model.dtype={options.dtype}",
        f"output.path={folder}",
    ]
    report = evaluate_repeatedly(load_config(_JOB, settings), options.times)
    found = read_metrics(report.parent / "metrics.json").repeats
    assert found is not None
    return found


if __name__ == "__main__":
    sys.exit(main())
