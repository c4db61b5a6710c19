"""What a report says of the answers that can be used, and of those that cannot."""

import pytest

from medsent.metrics.model import Metrics
from medsent.predictions import AnswerStatus
from medsent.report.layout import contents
from medsent.report.markdown import render_markdown
from medsent.report.tables.run import statuses


@pytest.mark.parametrize("status", list(AnswerStatus)[1:])
def test_every_status_of_an_answer_is_told_in_words(run: Metrics, status: str) -> None:
    baseline = run.variants["baseline"].model_copy(update={"answer_statuses": {status: 609}})
    changed = run.model_copy(update={"variants": {**run.variants, "baseline": baseline}})
    row = [cell.text for cell in statuses(changed).rows[0]]
    assert (row[0], row[1], *row[3:]) == ("baseline", status, "609", "100.0%")
    assert len(row[2].split()) > 3


@pytest.mark.slow
def test_repaired_answers_are_told_where_they_are_known(run: Metrics) -> None:
    assert "repaired" not in render_markdown(contents(run))
    variants = {
        name: each.model_copy(update={"repaired": repaired})
        for (name, each), repaired in zip(run.variants.items(), (None, 61), strict=True)
    }
    told = render_markdown(contents(run.model_copy(update={"variants": variants})))
    assert (
        "Of the 609 usable answers of finetuned, 61 (10.0%) came in broken JSON and could be read "
        "only once it was repaired." in told
    )
    assert "usable answers of baseline" not in told
