"""The settings of what scoring costs: by the hour of an engine, GPU or machine, or by tokens."""

from pydantic import Field, model_validator

from medsent.config.loader import Settings

BASES = ("per_replica_hour", "per_gpu_hour", "per_machine_hour", "per_million_tokens")
"""What a price may be of; a job names one."""


class TokenPrices(Settings):
    """Prices of a million tokens each."""

    prompt: float = Field(ge=0, allow_inf_nan=False)
    """Of prompt tokens that were computed."""
    cached: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Of prompt tokens that were found in the prefix cache; null: as `prompt`."""
    output: float = Field(ge=0, allow_inf_nan=False)
    """Of generated tokens."""

    @property
    def each(self) -> tuple[float, float, float]:
        """The prices of one token: of a computed, a cached and a generated one."""
        cached = self.prompt if self.cached is None else self.cached
        return self.prompt / 1e6, cached / 1e6, self.output / 1e6


class PriceSettings(Settings):
    """What scoring costs, in one of four ways. It changes no prediction, and so no run folder."""

    per_replica_hour: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Of one engine with its device, for an hour."""
    per_gpu_hour: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Of one GPU; an engine has `model.tensor_parallel_size` of them."""
    per_machine_hour: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Of one machine with all it has, with or without GPUs."""
    engines_per_machine: int = Field(1, ge=1)
    """That share a machine, and so its price."""
    per_million_tokens: TokenPrices | None = None
    """Where tokens are paid for rather than machines."""
    currency: str = Field("USD", min_length=1)

    def of_replica_hour(self, gpus: int) -> float | None:
        """Return the price of an engine with so many GPUs, for an hour; None of tokens."""
        if self.per_gpu_hour is not None:
            return self.per_gpu_hour * gpus
        if self.per_machine_hour is not None:
            return self.per_machine_hour / self.engines_per_machine
        return self.per_replica_hour

    @model_validator(mode="after")
    def _one_basis(self) -> "PriceSettings":
        given = [name for name in BASES if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"give one of {', '.join(BASES)}; {found} is given")
        if self.engines_per_machine > 1 and self.per_machine_hour is None:
            raise ValueError("engines_per_machine goes with per_machine_hour alone")
        return self
