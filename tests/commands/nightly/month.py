"""`python -m tests.commands.nightly.month`: 30 nights by the real command, three not clean.

The scripted engine's probabilities are hashes of the prompts. A first run over the unlabelled
opinions tells them, and the gold is made from them, a tenth of it turned round: the labels
then have an honest signal, of an F1 that thresholds move. A clean night has thresholds that
were tuned a little differently; a regression is a thresholds file that is wrong for two
labels; drift is a test set of which a half was exchanged; a burst is a test set whose texts
were lost in part.
"""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from medsent import predictions
from medsent.cli import main as medsent
from medsent.commands.nightly.gate import Gate
from medsent.config.labels import LABELS
from medsent.console import quieten
from medsent.metrics.statistics.thresholds import Thresholds, TunedOn, hashed_opinions
from tests.chaos.tokenizer import write_tokenizer

Kind: TypeAlias = Literal["clean", "regression", "drift", "quarantine"]

FIRST = date(2026, 11, 1)
VARIANT = "finetuned"
WORSE = ("fear", "anger")
"""The labels that the regression is planted in."""
PERSONAS = ("emergency_nurse", "surgeon", "family_doctor", "psychologist")
RULES: dict[Kind, set[str]] = {
    "clean": set(),
    "regression": {"labels", "macro_f1", "label_rates"},
    "drift": {"input"},
    "quarantine": {"quarantine"},
}
"""The rules that each kind of night is to be closed by, no other."""

_CUT, _WRONG = 0.6, 0.9
_JITTER = 0.002
_TURNED = 0.1
_LOST = 0.15


@dataclass(frozen=True)
class Ended:
    """What a night's command left."""

    night: date
    kind: Kind
    code: int
    said: list[str]
    complained: list[str]
    gate: Gate
    seconds: float

    @property
    def rules(self) -> set[str]:
        """The rules that closed it."""
        return {ruling.rule for ruling in self.gate.closing}

    @property
    def as_planted(self) -> bool:
        """Whether the gate did what it was to do, for the right reasons."""
        if self.code != (0 if self.kind == "clean" else 3) or self.rules != RULES[self.kind]:
            return False
        labels = {each.subject for each in self.gate.closing if each.rule.startswith("label")}
        return labels == (set(WORSE) if self.kind == "regression" else set())


@dataclass
class Month:
    """Nights in a folder, each by the command as a user gives it."""

    folder: Path
    opinions: int = 150
    settings: dict[str, Any] = field(default_factory=dict)
    """Laid over those of the nightly job."""

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._model = write_tokenizer(self.folder / "model")
        self.config = self.folder / "nightly.yaml"

    @property
    def output(self) -> Path:
        """The folder of all runs."""
        return self.folder / "runs"

    @property
    def index(self) -> Path:
        """The page of all nights."""
        return self.output / "nightly-history" / "index.html"

    def begin(self) -> None:
        """Make the test sets, and score the reference."""
        texts = _rows(self.opinions, "usual") + _rows(self.opinions // 2, "other")
        self._write("unlabelled", texts)
        gold = self._gold(self._evaluate("unlabelled"))
        rows = [{**row, "labels": gold[row["record_id"]]} for row in texts]
        usual = [row for row in rows if row["opinion_id"].startswith("usual")]
        half = usual[: len(usual) // 2]
        self._write("usual", usual)
        self._write("drift", half + rows[len(usual) :])
        lost = self._rng.random(len(usual)) < _LOST
        self._write(
            "quarantine",
            [
                {**row, "text": "" if gone else row["text"]}
                for row, gone in zip(usual, lost, strict=True)
            ],
        )
        self._thresholds({})
        reference = self._evaluate("usual")
        values = self._job("usual") | {"name": "nightly", "reference": str(reference)}
        values["gate"] = {
            "labels": {"worse_by": 0.03},
            "macro_f1": {"drop": 0.01, "floor": 0.6},
            # What the machine is doing besides must not close a night of a simulation.
            "records_per_s": {"of_reference": 0.02},
        }
        self.config.write_text(yaml.safe_dump(values | self.settings, sort_keys=False))

    def run(self, night: date, kind: Kind) -> Ended:
        """Run one night."""
        wrong = dict.fromkeys(WORSE, _WRONG) if kind == "regression" else {}
        self._thresholds(wrong)
        source = kind if kind in ("drift", "quarantine") else "usual"
        return self.command(night, kind, "--set", f"input.path={self.folder / source}")

    def command(self, night: date, kind: Kind, *options: str) -> Ended:
        """Give a night's command once more, as it is."""
        started = time.monotonic()
        code, said, complained = self.call(night, *options)
        if code not in (0, 3):
            raise RuntimeError(f"{night} has no verdict: {complained}")
        page = (said if code == 0 else complained).split()[-1]
        gate = Gate.model_validate_json(Path(page).with_name("gate.json").read_bytes())
        lines = (text.splitlines() for text in (said, complained))
        return Ended(night, kind, code, *lines, gate, time.monotonic() - started)

    def call(self, night: date, *options: str) -> tuple[int, str, str]:
        """Give a night's command; return exit code, stdout and stderr."""
        return _call(["nightly", str(self.config), "--date", str(night), *options])

    def _evaluate(self, source: str) -> Path:
        """Evaluate a test set outside of any night; return the run's folder."""
        config = self.folder / f"{source}.yaml"
        config.write_text(yaml.safe_dump(self._job(source), sort_keys=False))
        code, said, complained = _call(["evaluate", str(config)])
        if code:
            raise RuntimeError(complained)
        return Path(said.splitlines()[-1]).parent

    def _job(self, source: str) -> dict[str, Any]:
        variant = {"method": "onepass"}
        if source != "unlabelled":
            variant["thresholds"] = str(self.folder / "thresholds.json")
        return {
            "name": source,
            "note": "Simulated: a scripted engine, and a gate that three nights are to close.",
            "input": {"path": str(self.folder / source)},
            "output": {"path": str(self.output)},
            "model": {"source": str(self._model), "max_model_len": 1024},
            "variants": {VARIANT: variant},
            "engine": {"kind": "scripted", "rows_per_block": 256},
            "statistics": {"replicates": 400, "slices": ["language"]},
        }

    def _gold(self, run: Path) -> dict[str, dict[str, int]]:
        """Return record to labels: those that the run's probabilities say, a tenth turned round."""
        table = predictions.table(run / "predictions", ["record_id", VARIANT])
        found = predictions.probability_matrix(table[VARIANT].combine_chunks()) >= _CUT
        turned = found ^ (self._rng.random(found.shape) < _TURNED)
        return {
            name: dict(zip(LABELS, map(int, labels), strict=True))
            for name, labels in zip(table["record_id"].to_pylist(), turned, strict=True)
        }

    def _write(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        folder = self.folder / name
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(list(rows)), folder / "part-0.parquet")

    def _thresholds(self, wrong: dict[str, float]) -> None:
        """Write thresholds as a night's tuning on other opinions would find them."""
        jitter = self._rng.normal(0, _JITTER, len(LABELS))
        cuts = {label: _CUT + float(off) for label, off in zip(LABELS, jitter, strict=True)}
        tuned_on = TunedOn(
            data_digest="0" * 64,
            opinions=1,
            records=1,
            opinion_hashes=hashed_opinions(["an opinion of the validation split"]),
        )
        file = Thresholds(
            method="onepass", adapter_sha256=None, thresholds=cuts | wrong, tuned_on=tuned_on
        )
        (self.folder / "thresholds.json").write_text(file.model_dump_json())


def planted(nights: int, kinds: dict[int, Kind]) -> list[tuple[date, Kind]]:
    """Return the nights' dates, each with what happens in it."""
    return [(FIRST + timedelta(days=day), kinds.get(day, "clean")) for day in range(nights)]


def _rows(opinions: int, kind: str) -> list[dict[str, Any]]:
    """Return opinions by readers; those of kind `other` are longer, and English."""
    other = kind == "other"
    return [
        {
            "record_id": f"{kind}-{number}-{persona}",
            "opinion_id": f"{kind}-{number}",
            "text": f"opinion {number} of a patient"
            + " who went on" * (12 if other else number % 5),
            "language": "en" if other or number % 3 == 0 else "pl",
            "persona": persona,
        }
        for number in range(opinions)
        for persona in PERSONAS
    ]


def _call(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run a command in this process, whose Ray it uses; return exit code, stdout, stderr."""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        try:
            medsent(list(arguments))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return code, said.getvalue(), complained.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a month; return 1 where a gate did not do what it was to do."""
    parser = argparse.ArgumentParser(prog="python -m tests.commands.nightly.month")
    parser.add_argument("--folder", type=Path, default=Path("runs/month"))
    parser.add_argument("--nights", type=int, default=30)
    options = parser.parse_args(arguments)
    if options.folder.exists():
        parser.error(f"{options.folder} is there already; remove it, or name another by --folder")
    quieten()
    month = Month(options.folder.absolute())
    month.begin()
    wrong = 0
    for night, kind in planted(options.nights, {9: "regression", 16: "drift", 23: "quarantine"}):
        ended = month.run(night, kind)
        wrong += not ended.as_planted
        verdict = f"{ended.gate.status} by {', '.join(sorted(ended.rules)) or 'nothing'}"
        mark = "" if ended.as_planted else "   NOT AS PLANTED"
        print(f"{night}  {kind:<10}  {verdict}  ({ended.seconds:.1f} s){mark}", flush=True)
        for line in ended.complained[-1:]:
            print(f"    {line}", flush=True)
    print(f"{options.nights} nights, {wrong} not as planted\n{month.index}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
