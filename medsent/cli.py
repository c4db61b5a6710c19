"""The commands. Each is a few lines over a function of the package."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from medsent import __version__
from medsent.commands.making import merge, train
from medsent.commands.options import Config, Overrides
from medsent.commands.previews import check, prompt
from medsent.console import printing, quieten
from medsent.errors import MedsentError, ObjectRefusal, UsageError, place_of, reason

_DEBUG = "MEDSENT_DEBUG"

app = typer.Typer(
    help="Emotion labels for medical opinions: score, evaluate and train, on a laptop or a Ray "
    "cluster. Start with `medsent demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medsent {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print it and exit."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Show where in the code an unforeseen error comes from; what it shows may quote "
            "opinions. Stands before the command, or set MEDSENT_DEBUG=1.",
        ),
    ] = False,
) -> None:
    """Take what stands before a command's name."""
    if debug:
        os.environ[_DEBUG] = "1"


@app.command()
def evaluate(
    config: Config,
    overrides: Overrides = None,
    repeat: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="TIMES",
            help="Score the same records this many times in total, each time in a run of its own, "
            "and report which answers flip, and how much averages and labels' figures vary.",
        ),
    ] = 1,
) -> None:
    """Score the records of a job that are not scored yet, and write its report.

    The same command again goes on where an interrupted run stopped; a complete run
    only gets its report again. The last line printed is the report's path.
    """
    from medsent.commands.repeat import evaluate_repeatedly
    from medsent.config.job import load_config

    typer.echo(evaluate_repeatedly(load_config(config, overrides), repeat))


@app.command()
def nightly(
    config: Config,
    overrides: Overrides = None,
    night: Annotated[
        datetime | None,
        typer.Option(
            "--date",
            formats=["%Y-%m-%d"],
            help="The night's date; today's (UTC) where not given. To go on after midnight with "
            "a night that began before, name its date.",
        ),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Log metrics, parameters and reports to this MLflow tracking server as well. "
            "Needs the extra `mlflow`.",
        ),
    ] = None,
) -> None:
    """Evaluate under a night's date, compare, and close the gate where a rule says so.

    Compares by paired tests with the pinned `reference` and with the last good night. The same
    command resumes; a complete night is only judged again. The last line printed is the path
    of the night's page; where the gate is closed (exit code 3) it says why, on stderr. The
    run's folder holds the verdict as gate.json, and `<name>-history/` beside it all nights.
    """
    from medsent.commands.nightly.night import nightly as run
    from medsent.commands.nightly.settings import NightlyConfig
    from medsent.config.loader import load_settings

    settings = load_settings(NightlyConfig, config, overrides)
    date = night or settings.night or datetime.now(UTC)
    typer.echo(run(settings, date.date() if isinstance(date, datetime) else date, mlflow))


@app.command()
def backfill(
    config: Config,
    overrides: Overrides = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="For a trial: score at most this many opinions, in another run."),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Take this share of the opinions, always the same ones, in a run of their own.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print how many records and tokens there are and, at the pace of an earlier "
            "run of this name, the time and money that the rest will take. Starts no engine and "
            "writes into no run.",
        ),
    ] = False,
) -> None:
    """Label a backlog of opinions, and hand the labels on as partitioned Parquet.

    The same command again goes on where an interrupted or stopped run ended, and takes in
    the shards that have come since. With input.fan_out: personas every opinion is read by
    every persona. A budget in hours or money stops the job cleanly, with exit code 1.
    The last line printed is the report's path; the labels are in `labelled/` beside it.
    """
    from medsent.commands.backfill.settings import BackfillConfig
    from medsent.config.loader import load_settings

    given = {"input.limit": limit, "input.sample": sample}
    named = [f"{name}={value}" for name, value in given.items() if value is not None]
    settings = load_settings(BackfillConfig, config, [*(overrides or []), *named])
    if dry_run:
        from medsent.commands.backfill.estimate import estimate

        typer.echo(estimate(settings))
    else:
        from medsent.commands.backfill.job import backfill as run

        typer.echo(run(settings))


@app.command()
def erase(
    runs: Annotated[list[str], typer.Argument(help="The folders of runs.")],
    opinion_id: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="An opinion_id as it stands in the predictions. May be given several times.",
        ),
    ] = None,
    opinion_ids: Annotated[
        typer.FileText | None,
        typer.Option(
            metavar="FILE",
            encoding="utf-8-sig",
            help="A file of opinion_ids, one a line; - for stdin. This keeps the ids out of the "
            "list of processes and the shell's history.",
        ),
    ] = None,
) -> None:
    """Take the records of opinions out of runs, so that nothing of them is left there.

    Predictions and labelled rows are rewritten, and the report is made again; one that quotes
    opinions is removed. The records count as quarantined for `erased`, and no later command
    scores them again in any run of that output folder, whatever shard they come in. An erasure
    that is cut short is finished by the same command, or by the next one on the run. Shards are
    not touched. Exit code 1 where an id is in none of the runs.
    """
    from medsent.commands.erase import erase as run
    from medsent.commands.erase import read_ids

    named = {name: f"--opinion-id {name}" for name in opinion_id or []}
    named |= read_ids(opinion_ids) if opinion_ids else {}
    if not named:
        raise UsageError("erase: give --opinion-id ID or --opinion-ids FILE")
    typer.echo(run(runs, named))


app.command()(check)
app.command()(prompt)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run's folder.")],
    examples: Annotated[
        int,
        typer.Option(
            min=0,
            help="Quote this many opinions for which the candidate gains most, and as many for "
            "which it loses most, in a separate report: report-with-opinions.html and .md. "
            "Their texts are read from the input's shards.",
        ),
    ] = 0,
) -> None:
    """Write the report of a complete run again, from its predictions alone.

    report.html and report.md quote no opinion. The last line printed is the report's path.
    """
    from medsent.commands.evaluate import rewrite_report

    typer.echo(rewrite_report(run, examples))


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="The baseline's run folder.")],
    run_b: Annotated[str, typer.Argument(help="The candidate's run folder.")],
    baseline: Annotated[
        str | None, typer.Option(help="The variant of RUN_A, where it has several.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="The variant of RUN_B, where it has several.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="The report's folder; beside RUN_B where not given.")
    ] = None,
) -> None:
    """Compare two complete runs on the records that both hold, and write a report of it.

    The same intervals and tests as between two variants of one run. Without --baseline and
    --candidate a run's only variant is taken, or the candidate of its only comparison.
    The last line printed is the report's path.
    """
    from medsent.commands.compare import compare_runs

    typer.echo(compare_runs(run_a, run_b, (baseline, candidate), output))


@app.command()
def requeue(
    run: Annotated[str, typer.Argument(help="A run's folder.")],
    shard: Annotated[
        str | None, typer.Option(help="Score all rows of this shard again, after it was rewritten.")
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            help="Score the rows again to which a variant's answer had this status (engine_error, "
            "invalid_answer, truncated), or that were quarantined for this reason (engine_killer)."
        ),
    ] = None,
) -> None:
    """Score some rows of a run again, and write its report anew.

    Everything else in the run stays as it is. A requeue that is cut short is finished by
    the same command. The last line printed is the report's path.
    """
    from medsent.commands.evaluate import requeue as run_again
    from medsent.commands.requeue import Selection

    if (shard is None) == (status is None):
        raise UsageError("requeue: give either --shard PATH or --status STATUS")
    typer.echo(run_again(run, Selection(shard=shard, status=status)))


@app.command()
def thresholds(
    run: Annotated[str, typer.Argument(help="A complete run's folder, over labelled opinions.")],
    variant: Annotated[
        str | None,
        typer.Option(help="The variant to tune; may be left out where only one can be."),
    ] = None,
    precision_floor: Annotated[
        float | None,
        typer.Option(
            help="Tune for precision: the lowest threshold (most recall) whose precision on the "
            "run is at least this, such as 0.8. Without it, the threshold of the best F1. A label "
            "that cannot reach the floor is named, and withheld: its threshold is 1.0."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="The file to write; default thresholds-<variant>.json in the run."),
    ] = None,
) -> None:
    """Tune a threshold for each label on a run's probabilities and gold, and write them to a file.

    Tune on a run over the validation split, then name the file as a variant's `thresholds`
    in the job over other opinions, or with
    --set variants.<variant>.thresholds=FILE. On a run that is complete already,
    `medsent evaluate` then makes labels and report anew and scores nothing again. Opinions that
    were tuned on are refused there: they would flatter the figures.

    A label without positives keeps 0.5 (with a precision floor 1.0). Methods onepass and bits
    store probabilities; json does so only for objects under a grammar. The last line printed is
    the file's path.
    """
    from medsent.commands.tune import tune_run

    typer.echo(tune_run(run, variant, precision_floor, output))


app.command()(train)
app.command()(merge)


@app.command()
def demo(
    config: Annotated[Path, typer.Option(help="The demo's job.")] = Path("jobs/demo.yaml"),
    overrides: Overrides = None,
) -> None:
    """Prepare the embedded model and the synthetic data, then evaluate `jobs/demo.yaml`.

    Scores a part of the test split with the base Gemma 3 270M and with the adapter
    that ships, on this machine's CPU, and writes a report. Takes a few minutes, once.
    """
    from medsent.demo.job import demo as run

    typer.echo(run(config, overrides))


def command(name: str) -> None:
    """Run one command with this process's arguments; what the scripts in jobs/ call."""
    main([name, *sys.argv[1:]])


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an error of ours is one line on stderr and its exit code."""
    quieten()
    try:
        with printing():
            app(arguments)
    except MedsentError as error:
        print(f"medsent: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except OSError as error:
        told = f"{error.strerror}: {error.filename}" if error.strerror else place_of(error)
        if ObjectRefusal.of(error) and not error.strerror:
            told = "; ".join(reason(error))
        print(f"medsent: {told}", file=sys.stderr, flush=True)
        sys.exit(1)
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        told = f"an unforeseen error, {place_of(error)}; `medsent --debug` shows all of it"
        print(f"medsent: {told}", file=sys.stderr, flush=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C
            print("medsent: stopped; the same command goes on from here", file=sys.stderr)
        raise
