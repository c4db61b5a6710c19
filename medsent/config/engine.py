"""The settings of the engines: how many there are, of which kind, and when one counts as dead."""

from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medsent.config.loader import Settings, is_kept
from medsent.config.secrets import refuse_secrets

NO_INVARIANCE: Final = (
    "engine.batch_invariant: vLLM has it for GPUs alone, and the engines run on CPUs here; there "
    "engine.max_num_seqs: 1 asks one record at a time"
)


class Replicas(Settings):
    """The bounds of the pool of engines."""

    min: int = Field(1, ge=1)
    max: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Replicas":
        if self.max < self.min:
            raise ValueError("replicas.max is below replicas.min")
        return self


class SupervisionSettings(Settings):
    """When an engine counts as dead, and what is done about it."""

    hang_s: float = Field(300.0, gt=0)
    """Seconds without a finished request, while some wait, that count as a death."""
    max_deaths: int = Field(5, ge=1)
    """Deaths with no request finished between them after which the actor gives up."""
    start_tries: int = Field(2, ge=1)
    """Tries to start an engine before its start counts as failed; after a lack of memory the next
    has a smaller batch. An error that would come again, as of a wrong setting, is not retried."""
    backoff_s: float = Field(1.0, ge=0)
    """Pause before the second try to start; it doubles each time."""


class _EngineBounds(Settings):
    supervision: SupervisionSettings = SupervisionSettings()
    replicas: Replicas = Replicas()
    """How many engines; each is one actor of the pool."""
    rows_per_block: int = Field(256, ge=1)
    """Records in one unit of work: what is lost, at most, when an engine dies."""


class VllmSettings(_EngineBounds):
    """vLLM in one process group an actor."""

    kind: Literal["vllm"] = "vllm"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    max_num_seqs: int | None = Field(None, ge=1)
    """Sequences at a time; 1024 on a GPU and 64 on a CPU where null."""
    max_num_batched_tokens: int | None = Field(None, ge=64)
    """Tokens in one step; 16384 on a GPU and 2048 on a CPU where null."""
    max_lora_rank: int = Field(16, ge=1)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    kv_cache_gib: int = Field(2, ge=1)
    """Memory of the KV cache on a CPU."""
    batch_invariant: bool = False
    """Whether an answer is not to depend on which others are in its batch: vLLM's own switch, for
    GPUs alone. It takes slower kernels."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Any other argument of vLLM's engine, passed on as it is; no secrets."""

    @field_validator("options")
    @classmethod
    def _without_secrets(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if not is_kept(info):  # an old run must load, so that opinions can be erased from it
            refuse_secrets(options)
        return options

    @model_validator(mode="after")
    def _invariant_on_gpus(self) -> "VllmSettings":
        if self.batch_invariant and self.device == "cpu":
            raise ValueError(NO_INVARIANCE)
        return self

    def sequences(self, on_gpu: bool) -> int:
        """Return how many sequences at a time there are on such a device."""
        return self.max_num_seqs or (1024 if on_gpu else 64)


class ScriptedSettings(_EngineBounds):
    """No model: made-up answers from a hash of the prompt, for tests of orchestration."""

    kind: Literal["scripted"]
    latency_s: float = Field(0.0, ge=0)
    max_num_seqs: int = Field(256, ge=1)

    def sequences(self, on_gpu: bool) -> int:
        """Return how many sequences at a time there are, on any device."""
        return self.max_num_seqs

    @model_validator(mode="before")
    @classmethod
    def _without_former(cls, values: Any) -> Any:
        """Drop three null settings that earlier versions wrote; only tests gave them values."""
        former = {"deadly_token", "hanging_token", "memory_for"}
        if not isinstance(values, dict):
            return values
        return {k: v for k, v in values.items() if v is not None or k not in former}
