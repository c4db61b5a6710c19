"""One night: score, judge, write it down, tell."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import Final

from medsent.commands.evaluate import evaluate
from medsent.commands.nightly.evidence import gather, pinned_reference
from medsent.commands.nightly.gate import Gate
from medsent.commands.nightly.history import History, Night, last_good
from medsent.commands.nightly.index import INDEX, index_page
from medsent.commands.nightly.notification import notify
from medsent.commands.nightly.page import PAGE, night_page
from medsent.commands.nightly.retention import retain
from medsent.commands.nightly.rules import Evidence, judge
from medsent.commands.nightly.settings import NightlyConfig
from medsent.commands.nightly.tracking import Tracker
from medsent.commands.nightly.verdict import conclude, verdict_told
from medsent.errors import GateClosedError, LeaseError, MedsentError, place_of
from medsent.report.html import render_html
from medsent.runs.folder import RunFolder
from medsent.storage.lease import Lease
from medsent.storage.paths import AnyPath, any_path, located

logger = logging.getLogger(__name__)

_PATIENCE_S: Final = 120.0
"""For another night's writing into the history, which takes seconds."""
_PAUSE_S: Final = 1.0


def nightly(config: NightlyConfig, night: date, mlflow: str | None = None) -> AnyPath:
    """Run a night, or go on with it; a complete one is only judged and reported again.

    Returns the path of its page. Raises `GateClosedError` where a rule closes the gate, once
    everything is written and told; any other exception is a night without a verdict.
    """
    told = {"name": config.name, "night": str(night)}
    logger.info(f"Night {night}; on another day --date {night} goes on with it")
    try:
        tracker = None if mlflow is None else Tracker(mlflow)
        reference = pinned_reference(config)
        run = RunFolder(evaluate(config.of(night)).parent)
        gate, page = _conclude(config, night, run, reference)
    except Exception as error:
        # An unforeseen one may quote a text.
        known = isinstance(error, MedsentError | OSError)
        text = f"The night failed. {error if known else place_of(error)}"
        _remember_failure(config, night, text)
        text = f"{config.name}, {night}: {text[:1].lower()}{text[1:]}"
        notify(config.notify, "failed", {**told, "text": text})
        raise
    text = _sentence(gate, page)
    more = {"text": text, "page": str(page), "gate": gate.model_dump(mode="json")}
    notify(config.notify, gate.status, {**told, **more})
    if tracker is not None:
        tracker.log(config, gate, run)
    if gate.status == "closed":
        raise GateClosedError(text)
    return page


def _conclude(
    config: NightlyConfig, night: date, run: RunFolder, reference: RunFolder | None
) -> tuple[Gate, AnyPath]:
    """Judge a night and write it down; return its gate and its page's path."""
    history = History(run.path.parent, config.name)
    good = last_good(history.read(), night)
    evidence = gather(config, run, reference, history, good)
    rules = judge(evidence, config.gate)
    gate = Gate(
        name=config.name,
        night=night,
        run=run.path.name,
        status="closed" if any(rule.status == "closes" for rule in rules) else "open",
        decision=conclude(rules),
        reference=None if reference is None else str(reference.path),
        last_good=None if good is None else good.run,
        rules=rules,
    )
    page = _write_down(config, gate, evidence, run, history)
    if config.retention.nights is not None:
        _retain(history, config.retention.nights, reference)
    for message in dict.fromkeys(
        ruling.message for ruling in gate.not_judged if not ruling.subject
    ):
        logger.info(f"Not judged: {message}.")
    return gate, page


def _write_down(
    config: NightlyConfig,
    gate: Gate,
    evidence: Evidence,
    run: RunFolder,
    history: History,
) -> AnyPath:
    """Write a night's verdict, its page and its place in the history; return the page's path."""
    with _alone(history):
        former = history.night(gate.night)
        if former is not None and former.run not in ("", gate.run):
            logger.info(
                f"This takes the place of {former.run}, of which the gate was {former.status}."
            )
        run.write("gate.json", gate.to_json())
        index = f"../{history.folder.path.name}/{INDEX}"
        page = run.write(PAGE, render_html(night_page(gate, evidence.metrics, index)))
        _add(config, history, Night.of(gate, evidence.metrics))
    return page


def _remember_failure(config: NightlyConfig, night: date, text: str) -> None:
    """Put a night without a verdict into the history, unless it has one; a failure is only said."""
    try:
        history = History(any_path(config.output.path).resolve(), config.name)
        with _alone(history):
            former = history.night(night)
            if former is None or former.status == "failed":
                _add(config, history, Night.failed(night, text))
    except Exception as error:  # noqa: BLE001 - what is wrong already matters more
        logger.warning(f"The history does not tell of this night ({place_of(error)}).")


def _add(config: NightlyConfig, history: History, night: Night) -> None:
    nights = history.add(night)
    history.folder.write(INDEX, render_html(index_page(config.name, config.note, nights)))


def _retain(history: History, keep: int, reference: RunFolder | None) -> None:
    """Remove what is not to be kept; the night is judged, so a refusal is only said."""
    try:
        for removed in retain(history, history.read(), keep, reference):
            logger.info(f"Retention: removed the predictions of {removed}; its reports stay.")
    except OSError as error:
        logger.warning(f"Retention: predictions of old nights could not be removed ({error}).")


@contextmanager
def _alone(history: History) -> Iterator[None]:
    """Hold the history; another night that writes into it is waited for."""
    history.folder.path.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + _PATIENCE_S
    with ExitStack() as stack:
        while True:
            lease = Lease(*located(history.folder.path / "lease"))
            try:
                stack.enter_context(lease)
                break
            except LeaseError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(_PAUSE_S)
        yield


def _sentence(gate: Gate, page: AnyPath) -> str:
    """Say in a line how a night ended, by which numbers, and where to read on."""
    why = f" {'; '.join(gate.reasons())}." if gate.closing else ""
    verdict = f" {verdict_told(gate)}" if gate.decision != "block" else ""
    return f"{gate.name}, {gate.night}: the gate is {gate.status}.{why}{verdict} Its page: {page}"
