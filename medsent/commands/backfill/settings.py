"""The settings of a backfill: those of a job, what it hands on, and what it may cost."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from medsent.commands.drift import DriftSettings
from medsent.config.input import InputSettings, StoragePath
from medsent.config.job import JobConfig
from medsent.config.loader import Settings

Partition = Literal["date", "month", "language", "persona", "variant"]

LABELLED = (
    "row_hash",
    "record_id",
    "opinion_id",
    "persona",
    "language",
    "date",
    "month",
    "variant",
    "labels",
    "probabilities",
    "model",
    "adapter",
    "run",
    "labelled_at",
)
"""The columns that are handed on, besides those of `input.keep`."""


class BackfillInput(InputSettings):
    """Where the opinions are; new shards join the same run."""

    grows: bool = True


class LabelledSettings(Settings):
    """What others read: Parquet in `labelled/` of the run, rows with usable answers alone."""

    partition_by: list[Partition] = Field(default_factory=list)
    """Folders `language=pl/date=2026-01-31/`, in this order; none: one folder. `month` is the
    date's, as 2026-01."""
    rows_per_file: int = Field(1_000_000, ge=1)
    """The most rows in a file; files of less than half of that are put together."""

    @field_validator("partition_by")
    @classmethod
    def _once_each(cls, names: list[Partition]) -> list[Partition]:
        if len(set(names)) != len(names):
            raise ValueError("name each column once")
        return names


class BudgetSettings(Settings):
    """When to stop: what is in flight is then finished and written, and the command ends."""

    hours: float | None = Field(None, gt=0)
    """Hours that one command may take; the next command has as many again."""
    money: float | None = Field(None, gt=0)
    """What the run may cost in all, over all commands that score for it."""


class BackfillConfig(JobConfig):
    """A scoring job over a backlog that nobody has labelled."""

    input: BackfillInput
    labelled: LabelledSettings = LabelledSettings()
    budget: BudgetSettings = BudgetSettings()
    reference: StoragePath | None = None
    """A run folder whose label rates and input those of this run are compared with; null: none."""
    drift: DriftSettings | None = DriftSettings()
    """From where on a drift from the reference is an alarm: it is said, and all is written to
    `drift.json` in the run. The labels are handed on all the same, and the exit code stays 0."""

    @model_validator(mode="after")
    def _priced(self) -> "BackfillConfig":
        if self.budget.money is None:
            return self
        if self.price is None:
            raise ValueError("budget.money needs price.per_replica_hour to count with")
        if self.price.per_million_tokens is not None:
            raise ValueError(
                "budget.money is counted by the hour, and price.per_million_tokens has none; give "
                "price.per_replica_hour, or set budget.hours in place of budget.money"
            )
        return self

    @model_validator(mode="after")
    def _free_columns(self) -> "BackfillConfig":
        for name in self.input.keep:
            if name in LABELLED:
                raise ValueError(f"input.keep: {name!r} is a column of the labelled rows already")
        return self
