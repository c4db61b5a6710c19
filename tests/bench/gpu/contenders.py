"""Who is measured, and on what: engines of the model's shapes, and the traffic they are given."""

from dataclasses import dataclass, field
from typing import Final, Literal

from medsent.config.methods import MethodName
from tests.bench.timing import Edges
from tests.bench.workload import READERS

Who = Literal["base", "adapter", "both"]


@dataclass(frozen=True)
class Traffic:
    """One kind of question."""

    method: MethodName
    readers: int
    """Of each opinion: they share its part of the prompt."""
    records: int
    """At least twice the sequences that an engine works on: what it begins together ends together,
    and a rate is counted between two such ends."""

    @property
    def edges(self) -> Edges:
        """What does not count as steady; answers of many tokens have no slow ending."""
        ending = self.records // 16 if self.method == "onepass" else 0
        return Edges(self.records // 8, ending)


SHARED: Final = "shared"
"""The traffic of a production job: `onepass`, all readers of each opinion."""

TRAFFIC: Final = {
    SHARED: Traffic("onepass", READERS, 16_384),
    "alone": Traffic("onepass", 1, 4_096),
    "bits": Traffic("bits", READERS, 4_096),
    "json": Traffic("json", READERS, 2_048),
}
TINY_TRAFFIC: Final = {
    SHARED: Traffic("onepass", READERS, 256),
    "alone": Traffic("onepass", 1, 128),
    "bits": Traffic("bits", READERS, 128),
    "json": Traffic("json", READERS, 128),
}


@dataclass(frozen=True)
class Contender:
    """One engine, and what it is asked."""

    name: str
    asks: tuple[tuple[Who, str], ...]
    """Whose answers, and in which traffic."""
    eight_bits: bool = False
    adapted: bool = False
    """Whether the engine is ready for an adapter, which costs even where none is asked."""
    settings: dict[str, int] = field(default_factory=dict)
    """Of the engine, where they are not the job's own."""

    @property
    def needs_gpu(self) -> bool:
        """Whether vLLM has it for GPUs alone."""
        return bool(self.settings.get("batch_invariant"))

    @property
    def written(self) -> bool:
        """Whether any answer is text."""
        return any(traffic in ("bits", "json") for _, traffic in self.asks)


_ALL: Final = tuple(("base", traffic) for traffic in TRAFFIC)
_MIXED: Final = (
    ("base", SHARED),
    ("adapter", SHARED),
    ("both", SHARED),
    ("base", "alone"),
    ("adapter", "alone"),
    ("base", "json"),
    ("adapter", "json"),
)

ENGINES: Final = (
    Contender("lora", _MIXED, adapted=True),
    Contender("merged", _ALL),
    Contender("fp8", _ALL, eight_bits=True),
    Contender("fp8-lora", (("adapter", SHARED), ("both", SHARED)), eight_bits=True, adapted=True),
    Contender(
        "batch-invariant",
        (("adapter", SHARED), ("both", SHARED)),
        adapted=True,
        settings={"batch_invariant": True},
    ),
)
"""`merged`: no adapter is served, so that it is the base model, or one with an adapter in it."""

PEER: Final = "ray.data.llm"
JOB: Final = "job"
NAMES: Final = (*(engine.name for engine in ENGINES), PEER, JOB)


def sweep(sequences: tuple[int, ...], tokens: tuple[int, ...]) -> list[Contender]:
    """Return engines of all pairs of sequences at a time and tokens of a step."""
    return [
        Contender(
            f"merged, {most} sequences, {step} tokens",
            (("base", SHARED),),
            settings={"max_num_seqs": most, "max_num_batched_tokens": step},
        )
        for most in sequences
        for step in tokens
    ]
