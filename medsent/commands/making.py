"""The commands that make what a job scores with: adapters, and models with one folded in."""

from typing import Annotated

import typer

from medsent.commands.options import Config, Overrides


def train(
    config: Config,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say what it would train on and how much memory it would take, beside what "
            "there is.",
        ),
    ] = False,
) -> None:
    """Train a LoRA adapter for an answer method; goes on from its last checkpoint.

    Writes the adapter, the prompt, answer and labels it was trained with, thresholds tuned on
    validation, and a model card into `output`.
    """
    from medsent.commands.training.config import TrainingConfig
    from medsent.commands.training.run import plan_training, run_training
    from medsent.config.loader import load_settings

    settings = load_settings(TrainingConfig, config, overrides)
    if dry_run:
        plan_training(settings)
    else:
        typer.echo(run_training(settings))


def merge(
    model: Annotated[
        str,
        typer.Option(help="The base model: a hub id, a folder, or builtin:gemma-3-270m."),
    ],
    adapter: Annotated[str, typer.Option(help="The folder of a LoRA adapter of that model.")],
    output: Annotated[str, typer.Option(help="The merged model's folder; it must not be there.")],
) -> None:
    """Fold an adapter into its model's weights, for a job with one variant and no adapter.

    Adds up in float32, a file of weights at a time and with no GPU, and writes the model's own
    files with the same names and types in them, so that what loads the model loads the result.
    Thresholds that were tuned for the adapter hold for it. The last line printed is its folder;
    those before it say what to put into the job's YAML file.
    """
    from medsent.models.merge import merge as run

    typer.echo(run(model, adapter, output))
