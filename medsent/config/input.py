"""The settings of a job's input."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from medsent.config.loader import Settings
from medsent.storage.paths import holds_secret


def _without_secret(path: str) -> str:
    """What a configuration holds is kept in the run, where a secret would be read by others."""
    if holds_secret(path):
        raise ValueError(
            "a path must not hold a key; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    return path


_OF_THE_OPINION = frozenset(("record_id", "opinion_id", "text", "language", "date"))

StoragePath = Annotated[str, AfterValidator(_without_secret)]
"""A path on a file system that every node shares, or `s3://` or `gs://`."""


class InputSettings(Settings):
    """Where the opinions are."""

    path: StoragePath
    """A Parquet file, or a folder of them; local, `s3://` or `gs://`."""
    columns: dict[str, str | None] = Field(default_factory=dict)
    """Our column name to yours, or to null for a column you do not have."""
    gold_cut: float | None = Field(None, gt=0)
    """The vote from which on a label counts as given, where gold is shares of annotators, counts
    or grades; null: votes are 0 and 1 alone."""
    keep: list[str] = Field(default_factory=list)
    """Extra columns of yours that pass through to the predictions."""
    on_bad_shard: Literal["fail", "quarantine"] = "fail"
    """What a shard that cannot be read does to the job: end it, or be left out and counted."""
    grows: bool = False
    """Whether new shards join the same run; if not, another list of shards makes another run."""
    fan_out: Literal["rows", "personas"] = "rows"
    """Each row is read by the persona it names, or by every persona of the persona file."""
    sample: float | None = Field(None, gt=0, le=1)
    """Only this share of the opinions: always the same ones, which a larger share includes."""
    limit: int | None = Field(None, ge=1)
    """At most so many opinions. A run with a limit does not grow."""

    def reads(self, ours: str) -> bool:
        """Tell whether a column of ours is read if the shards have it.

        With `fan_out: personas` a row's own persona and its gold are not read.
        """
        return self.fan_out == "rows" or ours in _OF_THE_OPINION

    @property
    def joins(self) -> bool:
        """Whether new shards join the same run."""
        return self.grows and self.limit is None

    @model_validator(mode="after")
    def _no_unread_columns(self) -> "InputSettings":
        for name, theirs in sorted(self.columns.items()):
            if theirs and not self.reads(name):
                raise ValueError(
                    f"columns.{name} is not read with fan_out: personas, where each opinion is "
                    "read by all personas; take it out"
                )
        return self
