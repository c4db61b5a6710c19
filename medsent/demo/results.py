"""The demo's results as one table: the model's runs beside what they are measured against.

`python -m medsent.demo.results TEST_RUN HELDOUT_RUN` prints it in Markdown.
"""

import sys
from pathlib import Path

from medsent.demo.baselines import MEASURED_ON, Baseline, baselines
from medsent.metrics.model import read_metrics


def results(runs: dict[str, Path], folder: Path) -> list[Baseline]:
    """Return the macro F1 over all 21 labels of each variant of the runs, and of the baselines."""
    metrics = {split: read_metrics(run / "metrics.json") for split, run in runs.items()}
    names = list(metrics[MEASURED_ON[0]].variants)
    models = [
        Baseline(
            f"Gemma 3 270M, {name}",
            {
                split: found.variants[name].overall.macro_f1_undefined_as_0 or 0.0
                for split, found in metrics.items()
            },
        )
        for name in reversed(names)
    ]
    return models + baselines(folder)


def table(found: list[Baseline]) -> str:
    """Return the results as a Markdown table, with each as a share of Bayes on test."""
    best = next(row for row in found if row.name.startswith("Bayes")).macro_f1
    lines = [
        "| macro F1 | test | share of Bayes | phrases never trained on | share of Bayes |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in found:
        cells = [
            cell
            for split in MEASURED_ON
            for cell in (
                f"{row.macro_f1[split]:.3f}",
                f"{row.macro_f1[split] / best[split]:.2f}",
            )
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table for two runs, on `test` and on `heldout`, with the data in `data/demo`."""
    runs = dict(zip(MEASURED_ON, map(Path, sys.argv[1:3]), strict=True))
    print(table(results(runs, Path("data/demo"))))


if __name__ == "__main__":
    main()
