"""What `manifest.json` says of a complete run."""

from datetime import date
from typing import Any

from pydantic import ConfigDict, Field, JsonValue, computed_field, field_validator

from medsent.input.shard import Shard
from medsent.predictions import Reason
from medsent.runs.files import Written


class Counted(Written):
    """What became of the records; those that were scored are all but the quarantined."""

    input: int
    by_reason: dict[str, int]
    """Quarantined records by `Reason`, most frequent first."""
    duplicate_record_ids: int
    """Rows of the input whose record_id an earlier row has."""
    retries: int = 0
    """Requests that were sent again, since their engine died."""
    lost_dates: int = Field(0, exclude_if=lambda rows: not rows)
    """Rows of the input whose date was outside the years 1 to 9999, and is null."""
    foreign: int = Field(0, exclude_if=lambda rows: not rows)
    """Scored records in a language that the job has no words in, read as if in English."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def scored(self) -> int:
        return self.input - self.quarantined

    @computed_field  # type: ignore[prop-decorator]
    @property
    def quarantined(self) -> int:
        return sum(self.by_reason.values())

    @property
    def unread(self) -> int:
        """How many records no prediction holds, since their shard could not be read."""
        return self.by_reason.get(Reason.BAD_SHARD, 0)


class Timed(Written):
    """How long scoring took."""

    start_up_s: float
    """Until the first record was sent: engines, model, adapters."""
    total_s: float
    records: int | None = None
    """Those that were scored meanwhile; None in runs of before."""

    @property
    def scoring_s(self) -> float:
        return self.total_s - self.start_up_s


class Timing(Timed):
    """How long all sessions that came to their end took, and how many were begun."""

    sittings: int = 1
    """Sessions that were begun."""


class Quarantined(Written):
    """A shard that could not be read."""

    path: str
    rows: int | None
    """None where no footer tells."""
    reason: str
    """A `Fault`, or what a newer version calls it."""
    message: str


class Asked(Written):
    """How the variants were asked, as far as thresholds depend on it; each is by variant."""

    methods: dict[str, str] = {}
    adapters: dict[str, str] = {}
    """sha256 of the weights; the base model has none."""
    prompts: dict[str, str] = {}
    answers: dict[str, str] | None = None
    """None in runs of before, whose hashes of prompts are of another kind too."""


class Manifest(Written):
    """It is written last: a run that has it is complete.

    An erasure writes it anew, with what a newer version told in it.
    """

    model_config = ConfigDict(extra="allow")

    fingerprint: str
    night: date | None = None
    input: tuple[Shard, ...]
    """The shards that were read."""
    records: Counted
    shards_quarantined: tuple[Quarantined, ...] = ()
    engine_deaths: int = 0
    timing: Timing
    provenance: dict[str, JsonValue]
    """What made the predictions, the input apart; runs of before list that here as well."""

    @field_validator("input", mode="before")
    @classmethod
    def _without_etags(cls, entries: Any) -> Any:
        """Take the time that the first runs wrote instead of an etag; it equals no present etag."""
        if not isinstance(entries, list | tuple):
            return entries
        return [
            {"etag": str(each.get("modified", "")), **each} if isinstance(each, dict) else each
            for each in entries
        ]

    @field_validator("provenance")
    @classmethod
    def _tells_what_was_asked(cls, provenance: dict[str, JsonValue]) -> dict[str, JsonValue]:
        Asked.model_validate(provenance)
        return provenance

    def sources(self) -> dict[str, JsonValue]:
        """Return where a report's numbers come from: what made them, and the shards."""
        if not self.input or "input" in self.provenance:
            return self.provenance
        return {**self.provenance, "input": [shard.told() for shard in self.input]}

    @property
    def asked(self) -> Asked:
        return Asked.model_validate(self.provenance)
