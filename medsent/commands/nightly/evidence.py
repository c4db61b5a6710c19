"""What a night is judged by: its figures, and what came of comparing it with other runs."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from medsent.commands.compare import Side, compare_sides, open_reference
from medsent.commands.drift import Drift, measure_drift
from medsent.commands.nightly.gate import ANCHORS, Against
from medsent.commands.nightly.history import History, Night
from medsent.commands.nightly.rules import Anchor, Evidence
from medsent.commands.nightly.settings import NightlyConfig
from medsent.config.labels import load_labels
from medsent.errors import ConfigError, RunError, place_of
from medsent.metrics.model import read_metrics
from medsent.runs.folder import RunFolder


def pinned_reference(config: NightlyConfig) -> RunFolder | None:
    """Return the pinned reference, seen to be complete and to have what is compared.

    Raises `ConfigError` or `RunError` where a night could not be judged, before it is scored.
    """
    if not config.statistics.replicates:
        raise ConfigError("statistics.replicates is 0, and the gate decides by intervals")
    labels = load_labels(config.labels).names
    reference = open_reference(config.reference, config.judged, labels)
    if reference is not None:
        read_metrics(reference.path / "metrics.json")
    return reference


def gather(
    config: NightlyConfig,
    run: RunFolder,
    reference: RunFolder | None,
    history: History,
    good: Night | None,
) -> Evidence:
    """Compare a night's run with the reference and the last good night.

    Raises `RunError` where the night cannot be compared with the reference. A last good night that
    it cannot be compared with is only left out: else no night could ever be good again.
    """
    metrics = read_metrics(run.path / "metrics.json")
    anchors: dict[Against, Anchor] = {}
    absent: dict[Against, str] = {}
    drifts: Sequence[Drift] = ()
    if reference is None:
        absent["reference"] = "no reference is pinned"
    elif reference.path == run.path:
        absent["reference"] = "this night is the reference"
    else:
        try:
            anchors["reference"] = _anchor(config, run, reference, "reference")
            drifts = _drifts(config, run, reference)
        except RunError as error:
            raise RunError(f"reference: {error}, or pin another run") from error
    found = None if good is None else history.run(good)
    if found is None:
        absent["last_good"] = "on no earlier night was the gate open"
    elif not found.holds_predictions():
        absent["last_good"] = f"the predictions of the last good night, {found.path.name}, are gone"
    elif reference is None or found.path != reference.path:
        try:
            anchor = _anchor(config, run, found, "last_good")
            drifts = drifts if anchors else _drifts(config, run, found)
            anchors["last_good"] = anchor
        except (ConfigError, RunError) as error:
            absent["last_good"] = str(error)
        except (OSError, pa.ArrowException) as error:
            where = f"{found.path.name} cannot be read ({place_of(error)})"
            absent["last_good"] = f"the last good night, {where}"
    return Evidence(
        metrics,
        config.judged,
        anchors,
        absent,
        drifts,
        next(iter(anchors), None),
        config.statistics.label_margins,
    )


def _drifts(config: NightlyConfig, run: RunFolder, other: RunFolder) -> Sequence[Drift]:
    settings = config.gate.drift
    return () if settings is None else measure_drift(other, run, config.judged, settings)


def _anchor(config: NightlyConfig, run: RunFolder, other: RunFolder, against: Against) -> Anchor:
    comparisons = {}
    for variant in config.judged:
        before, now = (Side.open(each.path, variant, "gate.variants") for each in (other, run))
        sides = (replace(before, shown=f"({ANCHORS[against]})"), now)
        comparisons[variant] = compare_sides(sides, sliced=False).comparisons[0]
    return Anchor(other, read_metrics(other.path / "metrics.json"), comparisons)
