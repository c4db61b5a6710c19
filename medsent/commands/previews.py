"""The commands that look at a job before it runs."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from medsent.commands.options import Config, Overrides


def check(config: Config, overrides: Overrides = None) -> None:
    """Check configuration, data, model and adapters without starting an engine.

    Reads every shard's footer, matches every adapter tensor to the model, and tells how
    many records and tokens there are and, from the last run of this name, how long it takes.
    """
    from medsent.commands.backfill.settings import BackfillConfig
    from medsent.commands.check import check as run
    from medsent.commands.compare import open_reference
    from medsent.commands.nightly.evidence import pinned_reference
    from medsent.commands.nightly.settings import NightlyConfig
    from medsent.config.job import JobConfig
    from medsent.config.labels import load_labels
    from medsent.config.loader import fitting, load_settings

    kind = fitting([JobConfig, NightlyConfig, BackfillConfig], config)
    settings = load_settings(kind, config, overrides)
    if isinstance(settings, NightlyConfig):
        pinned_reference(settings)
    elif isinstance(settings, BackfillConfig):
        names = load_labels(settings.labels).names
        open_reference(settings.reference, list(settings.variants), names)
    run(settings)


def prompt(
    config: Config,
    variant: Annotated[
        str | None, typer.Option(help="The variant to show; all of them where not given.")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="A record_id of the input, whose opinion is then shown; else a made-up one is.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Compare with what a training pipeline rendered of this job's records: JSON "
            "lines, each a text, a list of token ids, or an object that has one of these as "
            "`text` or `input_ids`. It may have a `record_id` (and a `persona`), or an `opinion` "
            "(`language`, `persona`); else lines are of the input's records in order.",
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Show what a record is asked: the prompt to its last token, and the answer's form.

    Special tokens are marked, unlike the same characters in an opinion. Also shows how many
    tokens the prompts of one opinion's personas share, and how many more have to be computed
    where the persona stands before the opinion. With --against the exit code is 1 if a line
    differs from the prompt; what follows the prompt in a line, such as the answer, does not
    count. No engine is started.
    """
    from medsent.commands.backfill.settings import BackfillConfig
    from medsent.commands.nightly.settings import NightlyConfig
    from medsent.commands.prompt import show
    from medsent.config.job import JobConfig
    from medsent.config.loader import fitting, load_settings

    if isinstance(sys.stdout, TextIOWrapper):  # prompts may have letters that a terminal lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    kind = fitting([JobConfig, NightlyConfig, BackfillConfig], config)
    settings = load_settings(kind, config, overrides)
    for line in show(settings, variant, record, against):
        print(line, flush=True)  # not logged: it may be of an opinion
