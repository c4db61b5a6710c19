"""Jobs in which no record can be scored: refused with a remedy, before or after scoring."""

from collections.abc import Mapping
from typing import Final

from medsent.errors import InputError, RunError, some_of
from medsent.predictions import Reason
from medsent.runs.folder import RunFolder
from medsent.runs.manifest import Counted
from medsent.scoring.plan import Plan

_REMEDIES: Final = {
    Reason.UNKNOWN_PERSONA: "the column of input.columns.persona names none of the personas "
    "({personas}); describe your readers in a file (personas: FILE), or map that column to null",
    Reason.EMPTY_TEXT: "is input.columns.text the column of the opinions?",
    Reason.TOO_LONG: "raise model.max_model_len",
    Reason.BAD_TYPE: "write the shards' texts as UTF-8",
    Reason.BAD_LABELS: "correct the gold, or map it to null (input.columns.labels)",
    Reason.BAD_SHARD: "write those shards again",
}
_NAMED: Final = 3


def refuse_hopeless(records: int, quarantined: Mapping[str, int], plan: Plan) -> None:
    """Raise `InputError` where every record that was looked at would be quarantined."""
    if records and sum(quarantined.values()) >= records:
        raise InputError(
            f"input.path: not one of {records:,} records that were looked at could be scored: "
            f"{_told(quarantined, plan)}"
        )


def refuse_nothing_scored(run: RunFolder, records: Counted, plan: Plan) -> None:
    """Raise `RunError` where a complete run has scored no record, but for those erased of it."""
    reasons = {each: n for each, n in records.by_reason.items() if each != Reason.ERASED}
    if reasons and not records.scored:
        raise RunError(
            f"{run.path} has scored none of its {records.input:,} records: {_told(reasons, plan)}"
        )


def _told(quarantined: Mapping[str, int], plan: Plan) -> str:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in quarantined.items())
    most = max(quarantined, key=lambda reason: quarantined[reason])
    personas = some_of(sorted(plan.personas), _NAMED)
    remedy = next((text for reason, text in _REMEDIES.items() if reason == most), "")
    return f"{counts}{'; ' if remedy else ''}{remedy.format(personas=personas)}"
