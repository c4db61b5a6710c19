"""Cost in a report: a sentence beside the verdict, a key figure and a table, or no word of it."""

import pytest

from medsent.config.price import PriceSettings
from medsent.metrics.cost import Amount, Cheapest, CostChange, Standing
from medsent.metrics.model import Metrics
from medsent.report.document import Document, Table
from medsent.report.html import render_html
from medsent.report.layout import contents
from medsent.report.markdown import render_markdown
from medsent.report.tables.cost import cost_sentences, money
from tests.report.sample import ATTACK, metrics

pytestmark = pytest.mark.slow

PRICE = PriceSettings(per_replica_hour=36.0)


@pytest.fixture(scope="module")
def priced() -> Metrics:
    return metrics(price=PRICE, watts=400.0)


def tables(document: Document) -> dict[str, Table]:
    return {
        block.caption: block
        for section in document.sections
        for block in section.blocks
        if isinstance(block, Table)
    }


def test_a_report_without_a_price_has_no_word_of_it(run: Metrics) -> None:
    document = contents(run)
    assert "cost" not in {section.id for section in document.sections}
    assert "cost" not in {term.id for term in document.definitions}
    assert not any("million" in sentence for sentence in document.verdict)
    assert not any("Cost" in figure.name for figure in document.key_figures)


def test_a_price_adds_to_the_report_and_changes_nothing_else(run: Metrics, priced: Metrics) -> None:
    plain, document = contents(run), contents(priced)
    assert document.verdict[0] == plain.verdict[0]
    added = document.verdict[1:3]
    assert [*document.verdict[:1], *document.verdict[3:]] == list(plain.verdict)
    assert added == list(cost_sentences(priced))
    assert document.key_figures[:-1] == plain.key_figures
    assert document.key_figures[-1].name == "Cost of a million records"
    (section,) = [each for each in document.sections if each.id == "cost"]
    assert [each for each in document.sections if each != section] == plain.sections
    assert document.key_figures[-1].value in added[0]


def test_what_each_variant_costs_stands_beside_how_good_it_is(priced: Metrics) -> None:
    found = tables(contents(priced))
    table = found["Cost of a million records, by variant"]
    assert [column.title for column in table.columns] == [
        "Variant",
        "Cost",
        "Engine hours",
        "GPU hours",
        "Energy of the GPUs, kWh",
        "Shared time",
        "Macro F1",
        "Beside the best",
    ]
    rows = {row[0].text: row for row in table.rows}
    cost = priced.variants["finetuned"].cost
    assert cost is not None
    amount = cost.money_per_million_records
    assert rows["finetuned"][1].sort == amount.value
    assert rows["finetuned"][1].text == money(amount.value, "USD")
    assert rows["finetuned"][1].interval is not None
    hours = cost.replica_hours_per_million_records.value
    assert amount.value == pytest.approx(36 * hours)
    assert rows["finetuned"][4].sort == pytest.approx(0.4 * hours)  # 400 W
    assert (rows["finetuned"][7].text, rows["baseline"][7].text) == ("the best", "lower by more")
    assert "The engines' start, 58.4 s here, comes on top." in table.notes
    (row,) = found["Difference in cost, and in quality"].rows
    change = priced.comparisons[0].cost
    assert change is not None
    assert row[1].sort == change.money_per_million_records.value
    assert row[3].interval is not None


def test_what_was_not_measured_has_no_column() -> None:
    found = tables(contents(metrics(price=PRICE)))["Cost of a million records, by variant"]
    titles = [column.title for column in found.columns]
    assert "GPU hours" not in titles
    assert not any("Energy" in title for title in titles)


def test_a_cost_without_gold_is_said_without_quality() -> None:
    found = metrics(price=PRICE, gold=False)
    document = contents(found)
    assert found.cheapest is None
    assert any(sentence.startswith("A million records cost ") for sentence in document.verdict)
    columns = tables(document)["Cost of a million records, by variant"].columns
    assert "Macro F1" not in [column.title for column in columns]


def said(priced: Metrics, **sums: float) -> tuple[str, str]:
    """Return the sentences of a report in which the variants cost these sums."""
    variants = {
        name: variant.model_copy(
            update={
                "cost": variant.cost
                and variant.cost.model_copy(
                    update={"money_per_million_records": Amount(value=sums[name])}
                )
            }
        )
        for name, variant in priced.variants.items()
    }
    gap = sums["finetuned"] - sums["baseline"]
    change = CostChange(
        money_per_million_records=Amount(value=gap, low=gap - 1, high=gap + 1),
        relative=gap / sums["baseline"],
        currency="USD",
    )
    pairs = [priced.comparisons[0].model_copy(update={"cost": change})]
    first, second = cost_sentences(
        priced.model_copy(update={"variants": variants, "comparisons": pairs})
    )
    return first, second


def chosen(priced: Metrics, cheapest: str, non_inferior: bool | None) -> Metrics:
    beside = Standing(difference=Amount(value=-0.01), non_inferior=non_inferior)
    choice = Cheapest(
        best="finetuned", margin=0.02, beside_best={"baseline": beside}, cheapest=cheapest
    )
    return priced.model_copy(update={"cheapest": choice})


def test_the_sentences_say_what_to_pay_for(priced: Metrics) -> None:
    first, second = said(chosen(priced, "finetuned", False), baseline=118.4, finetuned=12.44)
    assert first == (
        "A million records cost 118 USD with baseline and 12.4 USD with finetuned: 106 USD less "
        "with finetuned than with baseline (95% interval −107 to −105)."
    )
    assert second == "finetuned is the best by macro F1, and none is cheaper."
    first, second = said(chosen(priced, "baseline", True), baseline=1.5, finetuned=2.0)
    assert first.endswith("(95% interval −0.500 to +1.50), which may be chance.")
    assert second == (
        "The cheapest that was shown to be at most 2 points of macro F1 below the best, "
        "finetuned, is baseline."
    )
    _, second = said(chosen(priced, "finetuned", False), baseline=1.0, finetuned=2.0)
    assert second == (
        "No cheaper variant was shown to be at most 2 points of macro F1 below the best, finetuned."
    )
    _, second = said(chosen(priced, "finetuned", None), baseline=1.0, finetuned=2.0)
    assert second.endswith(
        "below the best, finetuned; of baseline, which costs less, these opinions cannot tell."
    )


def test_a_currency_is_text_like_any_other() -> None:
    document = contents(metrics(price=PriceSettings(per_replica_hour=1.0, currency=ATTACK)))
    assert ATTACK not in render_html(document)
    assert ATTACK not in render_markdown(document)
