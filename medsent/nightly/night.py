"""One night: score, judge, write it down, tell."""

from datetime import date

from medsent.errors import GateClosedError, MedsentError
from medsent.evaluation import evaluate
from medsent.lease import Lease
from medsent.model import Say
from medsent.nightly.evidence import gather, pinned_reference
from medsent.nightly.gate import Gate
from medsent.nightly.history import History, Night, last_good
from medsent.nightly.index import INDEX, index_page
from medsent.nightly.notification import notify
from medsent.nightly.page import PAGE, night_page
from medsent.nightly.retention import retain
from medsent.nightly.rules import judge
from medsent.nightly.settings import NightlyConfig
from medsent.nightly.tracking import Tracker
from medsent.report.html import render_html
from medsent.run import RunFolder
from medsent.storage import AnyPath, located


def nightly(
    config: NightlyConfig, night: date, say: Say = print, mlflow: str | None = None
) -> AnyPath:
    """Run a night, or go on with it; a complete one is only judged and reported again.

    Returns the path of its page. Raises `GateClosedError` where a rule closes the gate, once
    everything is written and told; any other `MedsentError` is a night without a verdict.
    """
    told = {"name": config.name, "night": str(night)}
    say(f"Night {night}; on another day --date {night} goes on with it")
    try:
        tracker = None if mlflow is None else Tracker(mlflow)
        reference = pinned_reference(config)
        run = RunFolder(evaluate(config.of(night), say).parent)
        gate, page = _conclude(config, night, run, reference, say)
    except (MedsentError, OSError) as error:
        text = f"{config.name}, {night}: the night failed. {error}"
        notify(config.notify, "failed", {**told, "text": text}, say)
        raise
    if tracker is not None:
        tracker.log(config, gate, run, say)
    text = _sentence(gate, page)
    more = {"text": text, "page": str(page), "gate": gate.model_dump(mode="json")}
    notify(config.notify, gate.status, {**told, **more}, say)
    if gate.status == "closed":
        raise GateClosedError(text)
    return page


def _conclude(
    config: NightlyConfig, night: date, run: RunFolder, reference: RunFolder | None, say: Say
) -> tuple[Gate, AnyPath]:
    """Judge a night and write it down, alone; return its gate and its page's path."""
    history = History(run.path.parent, config.name)
    with Lease(*located(history.folder.path / "lease"), say=say):
        good = last_good(history.read(), night)
        evidence = gather(config, run, reference, history, good, say)
        rules = judge(evidence, config.gate)
        gate = Gate(
            name=config.name,
            night=night,
            run=run.path.name,
            status="closed" if any(rule.status == "closes" for rule in rules) else "open",
            reference=None if reference is None else str(reference.path),
            last_good=None if good is None else good.run,
            rules=rules,
        )
        run.write("gate.json", gate.to_json())
        index = f"../{history.folder.path.name}/{INDEX}"
        page = run.write(PAGE, render_html(night_page(gate, evidence.metrics, index)))
        nights = history.add(Night.of(gate, evidence.metrics))
        history.folder.write(INDEX, render_html(index_page(config.name, config.note, nights)))
        if config.retention.nights is not None:
            for removed in retain(history, nights, config.retention.nights, reference):
                say(f"Retention: removed the predictions of {removed}; its reports stay.")
    for message in dict.fromkeys(
        ruling.message for ruling in gate.not_judged if not ruling.subject
    ):
        say(f"Not judged: {message}.")
    return gate, page


def _sentence(gate: Gate, page: AnyPath) -> str:
    """Say in a line how a night ended, by which numbers, and where to read on."""
    why = f" {'; '.join(gate.reasons())}." if gate.closing else ""
    return f"{gate.name}, {gate.night}: the gate is {gate.status}.{why} Its page: {page}"
