"""What a command says of its job before anything starts."""

import logging

from medsent.runs.folder import RunFolder
from medsent.scoring.cautions import cautions
from medsent.scoring.plan import Plan

logger = logging.getLogger(__name__)


def warn(plan: Plan) -> None:
    """Say what of a job's prompts wants a second look, a line each."""
    for caution in cautions(plan):
        logger.warning(f"Warning: {caution}")


def summary(plan: Plan, run: RunFolder) -> str:
    """Say what a job is about to score, and where it goes."""
    variants = ", ".join(
        f"{v.name} ({v.settings.method}{', LoRA' if v.adapter else ''})" for v in plan.variants
    )
    return (
        f"{plan.config.name}: {plan.records:,} records in {len(plan.shards.files)} shards, "
        f"variants {variants}{_route(plan)}{_cut(plan)}\nRun folder {run.path}"
    )


def _cut(plan: Plan) -> str:
    cut = plan.config.input.gold_cut
    return "" if cut is None else f"; a gold vote from {cut:g} on is a yes"


def _route(plan: Plan) -> str:
    route = plan.config.route
    if route is None:
        return ""
    return f"; {100 * route.share:g}% of the opinions to {route.candidate}"
