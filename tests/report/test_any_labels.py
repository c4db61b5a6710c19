"""A report on other labels than the 21 that ship, and on few or many of them."""

import pytest

from medsent.report.layout import contents
from medsent.report.markdown import render_markdown
from medsent.report.tables import scores, slices
from tests.predicted import named
from tests.report.sample import metrics

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("number", "which"), [(1, "the label"), (5, "each of the 5 labels")])
def test_the_number_of_labels_is_the_runs(number: int, which: str) -> None:
    run = metrics(labels=named(number), replicates=0)
    text = render_markdown(contents(run))
    assert f"Each record carries a yes or no for {which}." in text
    assert "21 labels" not in text
    assert f" of {number}** (" in text.partition("Labels by F1: ")[2].partition("\n")[0]


def test_an_average_over_no_label_with_enough_opinions_says_so() -> None:
    table = scores.single_averages(metrics(12, compare=(), replicates=0))
    row = next(row for row in table.rows if row[0].text == "Macro F1, labels with enough opinions")
    assert {cell.reason for cell in row[1:]} == {"undefined: no label with enough opinions"}


def test_tables_with_a_column_for_each_of_many_labels_are_turned() -> None:
    names = named(60)
    run = metrics(labels=names, replicates=0)
    turned = slices.persona_labels("finetuned", run.variants["finetuned"])
    by_persona = [[cell.text for cell in row] for row in turned.rows]
    personas = [key for key in run.variants["finetuned"].slices if key.startswith("persona=")]
    titles = [column.title for column in turned.columns]
    assert titles == ["Label", *(key.partition("=")[2] for key in personas)]
    assert [row[0] for row in by_persona] == list(names)
    figure = run.variants["finetuned"].slices[personas[2]].labels[names[1]].f1
    assert figure is not None
    assert by_persona[1][3].strip("()") == f"{100 * figure.value:.0f}"
