"""The settings of a scoring job, as read from its YAML file."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medsent import predictions
from medsent.config.engine import ScriptedSettings, VllmSettings
from medsent.config.input import InputSettings, StoragePath
from medsent.config.loader import Settings, is_kept, load_settings
from medsent.config.methods import MethodName
from medsent.config.price import PriceSettings
from medsent.storage.paths import SCHEMES, AnyPath

VariantName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""A column of the predictions, so that SQL reads `finetuned.labels.anger`."""


class OutputSettings(Settings):
    """Where run folders go."""

    path: StoragePath = "runs"
    """A folder that every node of the cluster can write to; local, `s3://` or `gs://`."""
    mix_versions: bool = False
    """Go on with a run that was begun under other versions of vLLM, torch or transformers."""

    @field_validator("path")
    @classmethod
    def _folder(cls, path: str) -> str:
        scheme, there, _ = path.partition("://")
        if there and scheme not in SCHEMES:
            raise ValueError(f"{scheme}:// is no storage; give a folder, s3:// or gs://")
        return path


class ModelSettings(Settings):
    """The base model that all variants share."""

    source: StoragePath
    """A hub id, a folder (local, `s3://` or `gs://`), or `builtin:gemma-3-270m`."""
    revision: str | None = None
    """Of a hub's model: a commit, branch or tag; the newest where null. A run keeps its commit."""
    dtype: Literal["bfloat16", "float16", "float32", "auto"] = "bfloat16"
    quantization: str | None = None
    """How vLLM quantises the weights as it loads them, such as `fp8_per_channel`; null where it
    shall not, and for a checkpoint whose weights are quantised already."""
    tensor_parallel_size: int = Field(1, ge=1)
    max_model_len: int = Field(2048, ge=64)
    """Longest prompt and answer together, in tokens; longer records are quarantined as too_long."""


class SamplingSettings(Settings):
    """How an answer of method `json` is generated; null: as the answer file says."""

    temperature: float | None = Field(None, ge=0)
    """0: the most probable token each time."""
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    """Of the answer; what is longer is cut off."""
    seed: int | None = None
    """Of each answer, where the temperature is above 0."""


class VariantSettings(Settings):
    """One way to answer: the base model or an adapter, with an answer method."""

    method: MethodName = "onepass"
    adapter: StoragePath | None = None
    """A LoRA adapter: its folder, local, `s3://` or `gs://`, or a hub id; null for the base
    model."""
    revision: str | None = None
    """Of a hub's adapter: a commit, branch or tag; the newest where null. A run keeps its
    commit."""
    prompt: StoragePath | None = None
    """A prompt file; where null the one in the adapter's folder, else the method's own."""
    answer: StoragePath | None = None
    """An answer file, for method `json`; where null the one in the adapter's folder, else the
    one that ships."""
    guided: bool | None = None
    """Whether `json` answers under a grammar, whatever the answer file says; null: as it says."""
    sampling: SamplingSettings = SamplingSettings()
    thresholds: StoragePath | None = None
    """A thresholds file that `medsent thresholds` or training wrote, tuned on other opinions than
    the input's; 0.5 for every label where null."""

    @model_validator(mode="after")
    def _only_json(self) -> "VariantSettings":
        for name in ("answer", "guided", "sampling"):
            unset = SamplingSettings() if name == "sampling" else None
            if self.method != "json" and getattr(self, name) != unset:
                raise ValueError(f"{name} goes with method json, not with {self.method}")
        return self


class RouteSettings(Settings):
    """A staged roll-out: a share of the opinions goes to a candidate, the others to a fallback."""

    candidate: str
    """The variant that is rolled out."""
    fallback: str
    """The variant of the other opinions, and of a record whose answer by the candidate cannot
    be used."""
    share: float = Field(ge=0, le=1)
    """Share of the opinions for the candidate: always the same, and part of any larger share."""


class ComparisonSettings(Settings):
    """Two variants set against each other in the report."""

    baseline: str
    candidate: str


class StatisticsSettings(Settings):
    """What the report computes."""

    slices: list[str] = ["language", "persona"]
    replicates: int = Field(1000, ge=0, le=10_000)
    """Replicates of the bootstrap for intervals and tests; 0: none of these."""
    seed: int = Field(0, ge=0)
    """Of the bootstrap."""
    margin: float = Field(0.02, ge=0, lt=1)
    """A variant is as good as another where its macro F1 is lower by no more than this: where
    the whole interval of their paired difference says so."""
    label_margin: float | None = Field(0.02, ge=0, lt=1)
    """A label blocks a candidate where the whole interval of its F1's difference, corrected over
    the labels, lies below minus this; null: only labels in `label_margins` do."""
    label_margins: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Labels with margins of their own. Each has to be shown to be lower by no more than its
    margin before a candidate is to be shipped."""
    cluster: Literal["opinion", "near_duplicates"] = "opinion"
    """What intervals and tests take together: the records of an opinion, or those of all opinions
    whose texts are nearly the same."""

    @field_validator("replicates")
    @classmethod
    def _enough(cls, replicates: int) -> int:
        if 0 < replicates < 100:
            raise ValueError("give at least 100 for intervals, or 0 for none")
        return replicates


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())


class JobConfig(Settings):
    """One scoring job."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    night: date | None = None
    """The date of a nightly evaluation, which is a run of its own; `medsent nightly` sets it."""
    note: str | None = None
    """Shown at the top of the report, for instance that the data are synthetic."""
    input: InputSettings
    output: OutputSettings = OutputSettings()
    personas: StoragePath | None = None
    """A persona file; the 16 that ship where null."""
    labels: StoragePath | None = None
    """A label file; the 21 that ship where null."""
    model: ModelSettings
    variants: dict[VariantName, VariantSettings] = Field(min_length=1)
    engine: Annotated[VllmSettings | ScriptedSettings, Field(discriminator="kind")] = VllmSettings()
    compare: list[ComparisonSettings] = Field(default_factory=list)
    route: RouteSettings | None = None
    """Each record asks one of two variants; every one asks all where null."""
    statistics: StatisticsSettings = StatisticsSettings()
    price: PriceSettings | None = None
    """What scoring costs; the report then sets the cost of each variant beside its quality."""

    def job(self, **changes: Any) -> "JobConfig":
        """Return only the settings of scoring, with changes: a command's settings may hold more."""
        own = {name: getattr(self, name) for name in JobConfig.model_fields}
        return JobConfig.model_validate(own | changes)

    def anchored(self) -> "JobConfig":
        """Return the settings with absolute paths, so that they hold in any working folder."""
        variants = {
            name: variant.model_copy(
                update={
                    **{
                        name: path and _absolute(path)
                        for name in ("prompt", "answer", "thresholds")
                        for path in [getattr(variant, name)]
                    },
                    # With a revision it is a hub id, not a path: a plan has pinned it.
                    "adapter": variant.adapter
                    and (variant.adapter if variant.revision else _absolute(variant.adapter)),
                }
            )
            for name, variant in self.variants.items()
        }
        source = self.model.source
        if Path(source).expanduser().is_dir():
            source = _absolute(source)
        return self.model_copy(
            update={
                "input": self.input.model_copy(update={"path": _absolute(self.input.path)}),
                "output": self.output.model_copy(update={"path": _absolute(self.output.path)}),
                "personas": self.personas and _absolute(self.personas),
                "labels": self.labels and _absolute(self.labels),
                "model": self.model.model_copy(update={"source": source}),
                "variants": variants,
            }
        )

    @model_validator(mode="before")
    @classmethod
    def _default_engine(cls, values: Any) -> Any:
        """`engine:` without a kind means vLLM."""
        if isinstance(values, dict) and isinstance(values.get("engine"), dict):
            values = {**values, "engine": {"kind": "vllm", **values["engine"]}}
        return values

    @field_validator("variants")
    @classmethod
    def _free_names(cls, variants: dict[str, VariantSettings]) -> dict[str, VariantSettings]:
        taken = set(predictions.KEYS) & set(variants)
        if taken:
            raise ValueError(f"{min(taken)!r} is a column of the predictions; name it otherwise")
        return variants

    @model_validator(mode="after")
    def _keep_apart(self) -> "JobConfig":
        """What is kept becomes columns beside the predictions' own and the variants'."""
        taken = set(predictions.KEYS)
        # The text may be kept; a column of that name that is not the text may not.
        if self.input.columns.get("text", "text") != "text":
            taken.add("text")
        for index, name in enumerate(self.input.keep):
            if name in taken:
                raise ValueError(
                    f"input.keep: {name!r} is a column of the predictions already; give it another "
                    "name in the shards, or take it out"
                )
            if name in self.variants:
                raise ValueError(f"input.keep: {name!r} is a variant's name; rename the variant")
            if name in self.input.keep[:index]:
                raise ValueError(f"input.keep names {name!r} twice")
        return self

    @model_validator(mode="after")
    def _known_slices(self, info: ValidationInfo) -> "JobConfig":
        known = [*predictions.KEYS, *self.input.keep]
        for name in self.statistics.slices:
            if "=" in name and not is_kept(info):
                raise ValueError(
                    f"statistics.slices: {name!r} has a '=' in it, which parts a slice's column "
                    "from its value; rename the column in the shards, or take it out"
                )
            if name not in known:
                raise ValueError(
                    f"statistics.slices names {name!r}, which is no column of the predictions; "
                    "name it in input.keep, or take it out"
                )
        return self

    @model_validator(mode="after")
    def _known_variants(self) -> "JobConfig":
        for pair in self.compare:
            for name in (pair.baseline, pair.candidate):
                if name not in self.variants:
                    known = ", ".join(self.variants)
                    raise ValueError(f"compare names {name!r}, which is no variant ({known})")
        return self

    @model_validator(mode="after")
    def _gpus_to_pay(self) -> "JobConfig":
        if self.price and self.price.per_gpu_hour and getattr(self.engine, "device", "") == "cpu":
            raise ValueError(
                "price.per_gpu_hour: the engines have no GPU with engine.device: cpu; give "
                "price.per_machine_hour"
            )
        return self

    @model_validator(mode="after")
    def _whole_route(self) -> "JobConfig":
        if self.route is None:
            return self
        pair = (self.route.candidate, self.route.fallback)
        for name in pair:
            if name not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"route names {name!r}, which is no variant ({known})")
        if pair[0] == pair[1]:
            raise ValueError(f"route: candidate and fallback are both {pair[0]!r}; name two")
        for name in self.variants:
            if name not in pair:
                raise ValueError(
                    f"variants.{name} would never be asked: it is neither candidate nor fallback "
                    "of the route; take one of them out"
                )
        if self.compare:
            raise ValueError(
                "compare is on records with usable answers of both variants, and with a route "
                "none has two; take one of them out"
            )
        if predictions.ROUTED in {*self.variants, *self.input.keep}:
            raise ValueError(f"{predictions.ROUTED!r} is a column of the predictions with a route")
        return self


def load_config(path: str | AnyPath, overrides: list[str] | None = None) -> JobConfig:
    """Read a job's YAML file, with overrides such as `engine.rows_per_block=512` applied.

    Raises `ConfigError` that names the file, the setting, and what would be right.
    """
    return load_settings(JobConfig, path, overrides)
