"""The part of a report on a staged roll-out: who was asked, and whose answers count."""

from collections.abc import Iterator

from medsent.metrics.estimate import over
from medsent.metrics.format import count, counted, percent
from medsent.metrics.model import Metrics, Route
from medsent.predictions import ROUTED
from medsent.report.document import Block, Cell, Column, Table, Text
from medsent.report.tables.cells import share_cell


def routed(metrics: Metrics, route: Route) -> Iterator[Block]:
    """Yield what the route did, and what may be read from figures of unlike records."""
    yield Text(route_taken(metrics, route))
    yield Text(unpaired(route))
    yield _table(metrics, route)


def route_taken(metrics: Metrics, route: Route) -> str:
    """Say how many records the candidate was asked about, and how many fell back."""
    scored = metrics.records.scored
    share = f" ({percent(route.asked / scored)})" if scored else ""
    return (
        f"The route sends {percent(route.share)} of the opinions to {route.candidate}, the others "
        f"to {route.fallback}. {route.candidate} was asked about {count(route.asked)} of "
        f"{counted(scored, 'scored record')}{share}; on {count(route.fell_back)} of these its "
        f"answer could not be used, and that of {route.fallback} counts."
    )


def unpaired(route: Route) -> str:
    """Say what the figures of the variants are of."""
    return (
        f"No record has usable answers of both, so {route.candidate} and {route.fallback} are "
        f"not compared: the figures of each are of its own records. Those of {ROUTED} are of every "
        "record, by the answer that counts."
    )


def _table(metrics: Metrics, route: Route) -> Table:
    """Return the records of each variant: asked, usable, and counting."""
    rows = []
    for name in (route.candidate, route.fallback):
        overall = metrics.variants[name].overall
        # Whatever the fallback says counts; there is no one after it.
        counting = overall.answered_rows if name == route.candidate else overall.rows
        numbers = (overall.rows, overall.answered_rows, counting)
        share = share_cell(over(counting, metrics.records.scored), "no record scored")
        rows.append([Cell(name), *(Cell(count(number), number) for number in numbers), share])
    columns = [
        Column("Variant", "text"),
        Column("Records asked"),
        Column("Usable answers"),
        Column("Answers that count"),
        Column("Share of scored"),
    ]
    return Table("Records by route", columns, rows)
