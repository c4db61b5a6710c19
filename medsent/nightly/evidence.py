"""What a night is judged by: its figures, and what came of comparing it with other runs."""

from dataclasses import replace

from medsent.comparison import Side, compare_sides, open_reference
from medsent.drift import measure_drift
from medsent.errors import ConfigError, RunError
from medsent.model import Say
from medsent.nightly.gate import ANCHORS, Against
from medsent.nightly.history import History, Night
from medsent.nightly.rules import Anchor, Evidence
from medsent.nightly.settings import NightlyConfig
from medsent.report.model import read_metrics
from medsent.run import RunFolder


def pinned_reference(config: NightlyConfig) -> RunFolder | None:
    """Return the pinned reference, seen to be complete and to have the judged variants.

    Raises `ConfigError` or `RunError` where a night could not be judged, before it is scored.
    """
    if not config.statistics.replicates:
        raise ConfigError("statistics.replicates is 0, and the gate decides by intervals")
    return open_reference(config.reference, config.judged)


def gather(
    config: NightlyConfig,
    run: RunFolder,
    reference: RunFolder | None,
    history: History,
    good: Night | None,
    say: Say,
) -> Evidence:
    """Compare a night's run with the reference and the last good night.

    Raises `RunError` where the reference cannot be compared with; the last good night then
    only goes unasked, or no night could ever be good again.
    """
    metrics = read_metrics(run.path / "metrics.json")
    anchors: dict[Against, Anchor] = {}
    absent: dict[Against, str] = {}
    if reference is None:
        absent["reference"] = "no reference is pinned"
    elif reference.path == run.path:
        absent["reference"] = "this night is the reference"
    else:
        try:
            anchors["reference"] = _anchor(config, run, reference, "reference", say)
        except RunError as error:
            raise RunError(f"reference: {error}, or pin another run") from error
    found = None if good is None else history.run(good)
    if found is None:
        absent["last_good"] = "no night before it was open"
    elif not found.holds_predictions():
        absent["last_good"] = f"the predictions of the last good night, {found.path.name}, are gone"
    elif reference is None or found.path != reference.path:
        try:
            anchors["last_good"] = _anchor(config, run, found, "last_good", say)
        except (ConfigError, RunError) as error:
            absent["last_good"] = str(error)
    basis = next(iter(anchors), None)
    settings = config.gate.drift
    drifts = (
        measure_drift(anchors[basis].run, run, config.judged, settings)
        if basis is not None and settings is not None
        else []
    )
    return Evidence(metrics, config.judged, anchors, absent, drifts, basis)


def _anchor(
    config: NightlyConfig, run: RunFolder, other: RunFolder, against: Against, say: Say
) -> Anchor:
    comparisons = {}
    for variant in config.judged:
        before, now = (Side.open(each.path, variant, "gate.variants") for each in (other, run))
        sides = (replace(before, shown=f"({ANCHORS[against]})"), now)
        comparisons[variant] = compare_sides(sides, say).comparisons[0]
    return Anchor(other, read_metrics(other.path / "metrics.json"), comparisons)
