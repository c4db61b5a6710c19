"""`python -m tests.fuzz --jobs 500`: drawn jobs through `check` and `evaluate`, on one Ray."""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from medsent.config.job import JobConfig
from medsent.console import quieten
from tests.chaos.tokenizer import write_tokenizer
from tests.conftest import job_values, ray_files
from tests.fuzz.columns import MARK
from tests.fuzz.drawn import Drawn, jobs
from tests.fuzz.trial import Trial, attempt


def main(arguments: Sequence[str] | None = None) -> int:
    """Try jobs; return 1 where there is anything to say against one."""
    options = _parser().parse_args(arguments)
    quieten()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    lines = options.replay.read_text().splitlines() if options.replay else None
    drawn = map(Drawn.of_json, lines) if lines is not None else draw(options.jobs, options.seed)
    _connect()
    trials = list(_tried(drawn, folder, 60 * options.minutes))
    faults = [trial for trial in trials if trial.faults]
    quoting = [file for file in ray_files() if MARK.encode() in file.read_bytes()]
    _tell(trials, quoting)
    if options.failed and faults:
        options.failed.write_text("".join(f"{each.drawn.to_json()}\n" for each in faults))
    shutil.rmtree(folder)
    return int(bool(faults or quoting))


def draw(count: int, number: int) -> Iterator[Drawn]:
    """Return distinct drawn jobs, the same ones for a seed."""
    made: list[Drawn] = []

    @seed(number)
    @settings(
        max_examples=2 * count,  # some are drawn again
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(jobs())
    def collect(drawn: Drawn) -> None:
        made.append(drawn)

    collect()
    return islice(dict.fromkeys(made), count)


def _connect() -> None:
    from medsent.scoring.cluster import connect

    anywhere = Path("unused")
    connect(JobConfig.model_validate(job_values(anywhere, anywhere, anywhere)))


def _tried(drawn: Iterable[Drawn], folder: Path, seconds: float) -> Iterator[Trial]:
    model = write_tokenizer(folder / "model")
    deadline = time.monotonic() + seconds
    for number, each in enumerate(drawn):
        if time.monotonic() > deadline:
            print(f"Stopped after {seconds / 60:.0f} minutes.", flush=True)
            return
        trial = attempt(each, folder / str(number), model)
        for fault in trial.faults:
            print(f"{fault}\n    {trial.last_line}\n    {each.to_json()}", flush=True)
        shutil.rmtree(folder / str(number))
        yield trial


def _tell(trials: Sequence[Trial], quoting: Sequence[Path]) -> None:
    ended = Counter((trial.ready, trial.code) for trial in trials)
    for (ready, code), count in sorted(ended.items()):
        print(f"{count:5} {'Ready' if ready else 'refused':8} exit code {code}")
    for file in quoting:
        print(f"quotes an opinion: {file}")
    print(f"{len(trials)} jobs, {sum(bool(trial.faults) for trial in trials)} with a fault")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20.0, help="stop after so many")
    parser.add_argument("--failed", type=Path, help="write the jobs with a fault here")
    parser.add_argument("--replay", type=Path, help="try the jobs of such a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
