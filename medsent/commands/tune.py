"""`medsent thresholds`: each label's threshold, from what a complete run scored and its gold."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.answers.method import method_named
from medsent.commands.evaluate import held
from medsent.config.methods import known_methods
from medsent.errors import ConfigError, MedsentError, UsageError, storage_failure
from medsent.input.shards import Shards, open_shards
from medsent.input.texts import NO_TEXT, text_hashes, texts_of
from medsent.metrics.cuts import cuts_in_use
from medsent.metrics.statistics.thresholds import (
    NEUTRAL,
    WITHHELD,
    Hashes,
    Thresholds,
    TunedOn,
    TunedRun,
    Tuning,
    hashed_opinions,
    hashed_texts,
    read_thresholds,
    tune,
)
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.runs.manifest import Asked
from medsent.storage.paths import AnyPath, any_path, write_whole

logger = logging.getLogger(__name__)

_KEYS = ("opinion_id", "record_id", "persona")


@dataclass(frozen=True)
class Records:
    """The N records of a run that one variant's thresholds can be tuned on."""

    gold: npt.NDArray[np.float32]
    """(N, L): 0, 1 or NaN for missing."""
    probabilities: npt.NDArray[np.float32]
    """(N, L), NaN for null."""
    opinions: pa.Array
    """(K,): their opinions' ids, each once."""
    digest: str
    """sha256 of their ids, readers and gold, in whatever order they stand in the run."""
    unusable: int
    """Records with gold that are left out: their answer cannot be used."""


def tune_run(
    folder: str | AnyPath,
    variant: str | None = None,
    precision_floor: float | None = None,
    output: str | AnyPath | None = None,
) -> AnyPath:
    """Tune one variant's thresholds on a complete run, print them, and return their file's path.

    They are those of the best F1, or with a floor the lowest whose precision is at least that.
    A label whose threshold the run does not tell gets 0.5, as without a file, or with a floor
    1.0: it is withheld, since whoever asks for precision would rather miss it. Raises
    `ConfigError` where the variant stores no probabilities, `UsageError` and `RunError`.
    """
    if precision_floor is not None and not 0 < precision_floor <= 1:
        raise UsageError(f"--precision-floor: {precision_floor:g} is not above 0 and at most 1")
    run = RunFolder(any_path(folder).resolve())
    name, manifest = run.config().name, run.complete()
    chosen = _chosen(run, manifest.asked.methods, variant)
    target = _target(run, chosen, output)
    with held(run):  # so that no erasure runs meanwhile
        records = read_records(run, chosen)
        tunings = tune(records.gold, records.probabilities, precision_floor)
        by_label = dict(zip(predictions.labels_of(run.predictions), tunings, strict=True))
        source = TunedRun(name=name, fingerprint=manifest.fingerprint, variant=chosen)
        tuned_on = _tuned_on(records, source, _texts(run, records))
        thresholds = _thresholds(manifest.asked, by_label, precision_floor, tuned_on)
        _write(target, thresholds)
    logger.info(_heading(thresholds, source))
    for line in _told(by_label, records, precision_floor):
        logger.info(line)
    logger.info(
        f"For other opinions: medsent evaluate JOB --set variants.{chosen}.thresholds={target}"
    )
    return target


def read_records(run: RunFolder, variant: str) -> Records:
    """Read what one variant's thresholds are tuned on.

    It takes 8 bytes of memory a label of a record, and more while it is read. Raises `UsageError`
    where no record has both gold and a usable answer.
    """
    gold, probabilities, opinions, rows = [], [], [], []
    unusable = 0
    for batch in _batches(run, variant):
        status = pc.struct_field(batch[variant], "status")
        ok = pc.fill_null(pc.equal(status, predictions.AnswerStatus.OK), False)
        unusable += batch.num_rows - ok.true_count
        usable = batch.filter(ok)
        gold.append(predictions.label_matrix(usable["gold"], ""))
        probabilities.append(predictions.probability_matrix(usable[variant]))
        opinions.append(pc.unique(usable["opinion_id"]))
        rows.append(_row_hashes(usable, gold[-1]))
    if not sum(map(len, rows)):
        raise UsageError(
            f"{run.path}: no record has both gold labels and an answer of {variant} that can be "
            "used; thresholds are tuned on a run over labelled opinions"
        )
    votes = np.concatenate(gold)
    return Records(
        gold=np.where(votes < 0, np.float32(np.nan), votes.astype(np.float32)),
        probabilities=np.concatenate(probabilities),
        opinions=pc.unique(pa.chunked_array(opinions)),
        digest=hashlib.sha256(np.sort(np.concatenate(rows)).tobytes()).hexdigest(),
        unusable=unusable,
    )


def _chosen(run: RunFolder, methods: Mapping[str, str], variant: str | None) -> str:
    """Return the variant to tune, by name or as the only one that can be."""
    kept = cuts_in_use(run, methods)
    tunable = [name for name, cuts in kept.items() if cuts is not None]
    named = ", ".join(tunable)
    if variant is None:
        if not tunable:
            raise ConfigError(
                f"{run.path} has no variant with probabilities, so there are no thresholds to "
                f"tune. {_storing()}"
            )
        if len(tunable) > 1:
            raise ConfigError(f"{run.path} has several variants to tune; --variant: {named}")
        return tunable[0]
    if variant not in methods:
        known = ", ".join(methods)
        raise ConfigError(f"--variant: {run.path} has no variant {variant!r}, only {known}")
    if variant not in tunable:
        raise ConfigError(
            f"--variant: {variant} (method {methods[variant]}) stores no probabilities, so it has "
            f"no thresholds to tune. {f'Of this run: {named}' if named else _storing()}"
        )
    return variant


def _storing() -> str:
    able = [name for name in known_methods() if method_named(name).has_probabilities]
    return f"Methods that store probabilities are {', '.join(able)} (json for guided objects alone)"


def _target(run: RunFolder, variant: str, output: str | AnyPath | None) -> AnyPath:
    """Return the file to write; `UsageError` where it cannot be one, or is something else."""
    target = any_path(output or run.path / f"thresholds-{variant}.json").absolute()
    if target.is_dir():
        raise UsageError(f"--output: {target} is a folder; name a file")
    if not target.parent.is_dir():
        raise UsageError(f"--output: there is no folder {target.parent}")
    if target.exists():
        try:
            read_thresholds(target)
        except ConfigError as error:
            raise UsageError(
                f"--output: {target} is there and is no thresholds file; name another"
            ) from error
    return target


def _batches(run: RunFolder, variant: str) -> Iterator[pa.RecordBatch]:
    """Yield the scored records that have gold."""
    fields = [f"{variant}.{name}" for name in ("status", "probabilities")]
    erased = Erased.read(run)
    for rows in predictions.batches(run.predictions, [*_KEYS, "outcome", "gold", *fields]):
        rows = rows.filter(pc.invert(erased.matches(rows["opinion_id"])))
        scored = pc.equal(rows["outcome"], predictions.Outcome.SCORED)
        yield rows.filter(pc.and_(scored, pc.is_valid(rows["gold"])))


def _row_hashes(rows: pa.RecordBatch, gold: npt.NDArray[np.int8]) -> Hashes:
    """Return 64 bits of each row's ids, reader and gold, (N,)."""
    keys = zip(*(rows[name].to_pylist() for name in _KEYS), strict=True)
    digests = [
        hashlib.blake2b(repr(key).encode() + votes.tobytes(), digest_size=8).digest()
        for key, votes in zip(keys, gold, strict=True)
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _texts(run: RunFolder, records: Records) -> pa.Table | None:
    """Return opinion_id and text hash of the records' opinions that the run's shards still hold.

    The run itself holds no text. None where no text can be read; the log says what that means.
    """
    found = []
    try:
        for rows in texts_of(_shards(run), records.opinions):
            hashes = text_hashes(rows["text"], records.digest)
            found.append(pa.table({"opinion_id": rows["opinion_id"], "hash": hashes}))
    except MedsentError as error:
        logger.info(
            "The opinions' texts cannot be read, so the thresholds file knows them by id alone: "
            f"{error}"
        )
        return None
    table = pa.concat_tables(found) if found else None
    absent = len(records.opinions) - (len(pc.unique(table["opinion_id"])) if table else 0)
    if absent:
        logger.info(
            f"The texts of {absent:,} opinions are gone, or not as they were scored: the "
            "thresholds file knows these opinions by id alone."
        )
    return table


def _shards(run: RunFolder) -> Shards:
    """Return the shards of a run that stand as they were scored."""
    scored = set(run.complete().input)
    shards = open_shards(run.config().input, predictions.labels_of(run.predictions))
    return replace(shards, files=tuple(file for file in shards.files if file in scored))


def _tuned_on(records: Records, run: TunedRun, texts: pa.Table | None) -> TunedOn:
    ids = records.opinions.to_pylist()
    hashed, of_texts = hashed_opinions(ids), None
    if texts is not None:
        unread = sorted(set(ids) - set(texts["opinion_id"].to_pylist()))
        none = np.full(len(unread), NO_TEXT, np.uint64)
        hashed, of_texts = hashed_texts(
            [*texts["opinion_id"].to_pylist(), *unread], np.append(texts["hash"].to_numpy(), none)
        )
    return TunedOn(
        data_digest=records.digest,
        opinions=len(ids),
        records=len(records.gold),
        opinion_hashes=hashed,
        text_hashes=of_texts,
        run=run,
    )


def _thresholds(
    asked: Asked,
    tunings: Mapping[str, Tuning],
    floor: float | None,
    tuned_on: TunedOn,
) -> Thresholds:
    """Return what the file holds of a variant, which was so asked."""
    assert tuned_on.run is not None  # they are a run's
    # A run that names no answer files is of a version that had no prompt files: what it has under
    # `prompts` is no digest of a file.
    variant = tuned_on.run.variant
    return Thresholds(
        method=asked.methods[variant],
        tuned_for="f1" if floor is None else "precision",
        precision_floor=floor,
        untuned=[label for label, tuning in tunings.items() if not tuning.tuned],
        adapter_sha256=asked.adapters.get(variant),
        prompt=None if asked.answers is None else asked.prompts.get(variant),
        answer=(asked.answers or {}).get(variant),
        thresholds={label: tuning.threshold for label, tuning in tunings.items()},
        tuned_on=tuned_on,
    )


def _write(target: AnyPath, thresholds: Thresholds) -> None:
    try:
        write_whole(target, thresholds.to_json())
    except OSError as error:
        raise storage_failure(error, target.parent) from error


def _heading(thresholds: Thresholds, run: TunedRun) -> str:
    floor, tuned_on = thresholds.precision_floor, thresholds.tuned_on
    aim = "the best F1" if floor is None else f"a precision of at least {floor:g}"
    return (
        f"{run.variant} ({thresholds.method}), tuned for {aim} on {run.name}-{run.fingerprint}: "
        f"{tuned_on.opinions:,} opinions, {tuned_on.records:,} records"
    )


def _told(tunings: Mapping[str, Tuning], records: Records, floor: float | None) -> Iterator[str]:
    """Yield the table, a caution about its figures, the records left out, the labels not tuned."""
    width = max(17, *(len(label) + 3 for label in tunings))
    titles = f"{'positives':>10}{'threshold':>11}{'precision':>11}{'recall':>8}{'F1':>8}"
    yield f"{'label':<{width}}{titles}"
    for label, tuning in tunings.items():
        yield _row(label, tuning, width)
    yield "These are the very records it was tuned on: expect less of others."
    if records.unusable:
        yield f"{records.unusable:,} records with gold have no usable answer and are left out."
    yield from _untuned(tunings, floor)


def _row(label: str, tuning: Tuning, width: int) -> str:
    mark = "" if tuning.tuned else " *"
    return (
        f"{label + mark:<{width}}{tuning.positives:>10,}{tuning.threshold:>11.3f}"
        f"{_share(tuning.precision):>11}{_share(tuning.recall):>8}{_share(tuning.f1):>8}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _untuned(tunings: Mapping[str, Tuning], floor: float | None) -> Iterator[str]:
    """Yield which labels have no threshold of their own, why, and what they have instead."""
    untuned = {label: tuning for label, tuning in tunings.items() if not tuning.tuned}
    absent = [label for label, tuning in untuned.items() if not tuning.positives]
    out_of_reach = [label for label in untuned if label not in absent]
    instead = (
        f"{NEUTRAL}, as without a file"
        if floor is None
        else f"{WITHHELD}, so that none is given below a probability of exactly 1"
    )
    if absent:
        yield f"* without positives: {', '.join(absent)}. Threshold {instead}."
    if out_of_reach:
        yield f"* no threshold reaches the floor: {', '.join(out_of_reach)}. Threshold {instead}."
