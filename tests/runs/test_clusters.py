"""What a run keeps of near-duplicates: no text and no id, and nothing of what is erased."""

from pathlib import Path

import numpy as np
import pytest

from medsent.config.job import JobConfig
from medsent.config.labels import LABELS
from medsent.errors import RunError
from medsent.runs.clusters import Clusters, clusters_of
from medsent.runs.erased import Erased, opinion_hash
from medsent.runs.folder import CLUSTERS, RunFolder
from tests import predicted
from tests.conftest import job_values, merged

FOUND = clusters_of([["b", "a"], ["c"], ["f", "d", "e"]], opinions=6, unread=0)
NONE = Erased(opinions=frozenset(), pending=False)


def test_they_are_the_same_in_any_order_and_alone_is_no_cluster() -> None:
    again = clusters_of([["e", "f", "d"], ["a", "b"]], opinions=6, unread=0)
    assert again == FOUND
    assert (FOUND.clustered, len(FOUND.clusters)) == (5, 2)


def test_opinions_of_a_cluster_have_one_id() -> None:
    votes = np.zeros((6, len(LABELS)), np.int8)
    ids = ["a", "c", "b", "d", None, "f"]
    rows = predicted.batch(votes, {"plain": predicted.Answers(votes)}, {"opinion_id": ids})
    [joined] = FOUND.joined([rows])
    assert joined.schema == rows.schema
    assert joined.drop_columns(["opinion_id"]) == rows.drop_columns(["opinion_id"])
    a, c, b, d, none, f = joined["opinion_id"].to_pylist()
    assert (a, d, c, none) == (b, f, "c", None)
    assert len({a, c, d}) == 3


def test_of_an_erased_opinion_nothing_is_left() -> None:
    left = FOUND.without(NONE.with_opinions(["a", "d"]))
    assert left.clusters == [sorted([opinion_hash("e"), opinion_hash("f")])]
    assert not any(opinion_hash(name) in left.to_json() for name in "ad")
    assert FOUND.without(NONE) == FOUND


def test_a_report_that_asks_for_what_the_run_has_not(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    values = job_values(tmp_path, tmp_path, tmp_path)
    plain = JobConfig.model_validate(values)
    asks = JobConfig.model_validate(merged(values, {"statistics": {"cluster": "near_duplicates"}}))
    with pytest.raises(RunError, match=r"has no clusters\.json; run its job again"):
        Clusters.asked(run, asks)
    FOUND.write(run)
    assert Clusters.asked(run, asks) == FOUND
    assert Clusters.asked(run, plain) is None
    (run.path / CLUSTERS).write_text("{")
    with pytest.raises(RunError, match=r"clusters\.json is damaged; run its job again"):
        Clusters.asked(run, asks)
