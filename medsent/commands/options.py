"""What the commands of a job have in common."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(help="The job's YAML file, such as jobs/demo.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting; the value is YAML. Example: --set engine.max_num_seqs=64. "
        "May be given several times.",
    ),
]
