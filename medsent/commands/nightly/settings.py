"""The settings of a nightly evaluation: those of a job, its reference, gate and what follows."""

from datetime import date
from typing import Literal

from pydantic import Field, field_validator, model_validator

from medsent.commands.drift import DriftSettings
from medsent.config.input import StoragePath
from medsent.config.job import JobConfig
from medsent.config.loader import Settings

Status = Literal["open", "closed", "failed"]
CannotTell = Literal["open", "close"]


class LabelSettings(Settings):
    """No label may be worse: F1 by paired tests against the reference and the last good night."""

    worse_by: float = Field(0.02, ge=0, lt=1)
    """Closed where the upper bound of a label's difference, of one side and corrected over the
    labels, lies below minus this, so that chance does not close a clean night. A label in
    `statistics.label_margins` goes by its own."""


class FigureSettings(Settings):
    """What one overall figure may do."""

    drop: float | None = Field(None, ge=0, lt=1)
    """Closed where the upper bound of the paired difference, of one side, lies below minus this."""
    floor: float | None = Field(None, ge=0, le=1)
    """Closed where the figure itself is lower, be it by chance: by few opinions set it lower than
    what you expect."""


class MacroSettings(FigureSettings):
    """Macro F1; the difference is over the labels with enough opinions."""

    drop: float | None = Field(0.01, ge=0, lt=1)


class SuccessSettings(FigureSettings):
    """The share of records with a usable answer."""

    floor: float | None = Field(0.98, ge=0, le=1)


class RecordsSettings(Settings):
    """How many records there must be: a test set that was cut short proves nothing."""

    of_reference: float = Field(0.95, gt=0)
    """Closed below this share of the reference's records or, without one, the last good night's."""


class SpeedSettings(Settings):
    """How slow a variant may be, in records per second."""

    of_reference: float | None = Field(0.5, gt=0)
    """Closed below this share of the reference's rate; null where that ran on other machines."""
    floor: float | None = Field(None, gt=0)
    """Closed below so many records per second."""


class QuarantineSettings(Settings):
    """How many records may be quarantined."""

    share: float = Field(0.01, ge=0, le=1)
    """Closed where more of the input's records than this are, shards left out included."""


class GateSettings(Settings):
    """The rules that close a night; a rule set to null is not asked."""

    variants: list[str] | None = None
    """Whom the rules judge; null: the candidates of `compare`, or every variant without any, but
    for one that a route at 0 or 1 asks about nothing."""
    cannot_tell: CannotTell = "open"
    """What happens to the gate where it cannot be told whether macro F1, the share of usable
    answers (each if it has a `drop`) or a label in `statistics.label_margins` is as good."""
    records: RecordsSettings | None = RecordsSettings()
    labels: LabelSettings | None = LabelSettings()
    macro_f1: MacroSettings | None = MacroSettings()
    generation_success: SuccessSettings | None = SuccessSettings()
    records_per_s: SpeedSettings | None = SpeedSettings()
    quarantine: QuarantineSettings | None = QuarantineSettings()
    drift: DriftSettings | None = DriftSettings()
    """Against the reference or, without one, the last good night."""


class RetentionSettings(Settings):
    """What is kept of old nights. Reports, pages and gates of all of them are."""

    nights: int | None = Field(None, ge=2)
    """Predictions are kept of the last so many nights, of what these were compared with, of the
    reference and of the last good night; null: of all."""


class NotifySettings(Settings):
    """Who is told how a night ended, as JSON. A hook that fails changes nothing else."""

    command: list[str] | None = None
    """A program and its arguments; it gets the JSON on stdin."""
    webhook: str | None = None
    """An address that gets the JSON by POST; `$NAME` in it is taken from the environment."""
    when: list[Status] = ["closed", "failed"]
    """The ends that are told; `failed` is a night that ended without a verdict."""
    timeout_s: float = Field(30.0, gt=0)

    @field_validator("command")
    @classmethod
    def _program(cls, command: list[str] | None) -> list[str] | None:
        if command == []:
            raise ValueError("name a program, or leave the setting out")
        return command


class NightlyConfig(JobConfig):
    """A scoring job that is run every night over the same records."""

    reference: StoragePath | None = None
    """The run folder to compare with every night; null until one is pinned."""
    gate: GateSettings = GateSettings()
    retention: RetentionSettings = RetentionSettings()
    notify: NotifySettings = NotifySettings()

    @model_validator(mode="after")
    def _known_to_gate(self) -> "NightlyConfig":
        for name in self.gate.variants or []:
            if name not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"gate.variants names {name!r}, which is no variant ({known})")
        return self

    @property
    def judged(self) -> list[str]:
        """The variants that the gate judges."""
        candidates = list(dict.fromkeys(pair.candidate for pair in self.compare))
        return self.gate.variants or candidates or self._asked()

    def _asked(self) -> list[str]:
        """The variants that are asked about more than what the other cannot answer."""
        route = self.route
        idle = {0.0: route.candidate, 1.0: route.fallback}.get(route.share) if route else None
        return [name for name in self.variants if name != idle]

    def of(self, night: date) -> JobConfig:
        """Return the job of one night: its date is in its name and its fingerprint."""
        return self.job(name=f"{self.name}-{night}", night=night)
