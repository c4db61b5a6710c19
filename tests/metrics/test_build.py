"""From a reduced state to `metrics.json`, and back from the file."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent.config.labels import LABELS
from medsent.errors import ConfigError, RunError
from medsent.metrics.build import COMPARED, build_metrics
from medsent.metrics.estimate import Estimate, value_of
from medsent.metrics.findings.catalogue import find
from medsent.metrics.model import Metrics, OverallMetrics, Run, Timing, read_metrics
from medsent.reducer.state import Reduction, Scope, reduce_batches
from tests.predicted import Answers, batch, random_rows

RUN = Run(name="test", fingerprint="0123456789ab", note="made up")
PAIR = [("baseline", "candidate")]
SCOPE = Scope.of(
    ["candidate", "baseline"], LABELS, ["persona", "language"], pairs=PAIR, replicates=100
)


def state(rows: int = 200, unusable: float = 0.1) -> Reduction:
    return reduce_batches([random_rows(5, rows, 0.1, 0.3, unusable)], SCOPE)


def test_the_whole_of_it() -> None:
    found = build_metrics(
        state(),
        run=RUN,
        timing=Timing(start_up_s=40.0, scoring_s=18.5, total_s=60.0),
        provenance={"model": {"sha256": "00"}},
        input_records=200,
        duplicate_record_ids=3,
    )
    assert (found.schema_version, found.run) == (2, RUN)
    assert found.findings == find(found) != []
    records = found.records
    assert (records.input, records.duplicate_record_ids) == (200, 3)
    assert records.scored + records.quarantined == 200
    assert sum(records.by_reason.values()) == records.quarantined > 0
    assert found.timing.seconds_per_sample == pytest.approx(18.5 / records.scored)
    assert found.provenance == {"model": {"sha256": "00"}}
    # The order of the predictions' columns, of the configured slices, and of the labels.
    assert list(found.variants) == ["candidate", "baseline"]
    for variant in found.variants.values():
        assert list(variant.slices) == [
            "persona=none",
            "persona=x",
            "persona=y",
            "language=en",
            "language=pl",
        ]
        assert tuple(variant.labels) == LABELS
        assert variant.overall.rows == records.scored
        assert sum(variant.answer_statuses.values()) == records.scored
        assert next(iter(variant.answer_statuses)) == "ok"
        assert variant.thresholds is None


def test_label_counts_add_up_to_the_rows_in_every_slice() -> None:
    for variant in build_metrics(state(), run=RUN).variants.values():
        for part in (variant, *variant.slices.values()):
            for label in part.labels.values():
                counted = (label.tp, label.fp, label.fn, label.tn, label.missing, label.unanswered)
                assert sum(counted) == part.overall.rows
                assert label.support == label.tp + label.fn
        for column in ("persona", "language"):
            sizes = [v.overall.rows for k, v in variant.slices.items() if k.startswith(column)]
            assert sum(sizes) == variant.overall.rows


def test_comparisons_compare_the_figures_shown() -> None:
    both = [*PAIR, ("candidate", "baseline")]
    scope = Scope.of(["candidate", "baseline"], LABELS, pairs=both, replicates=100)
    rows = random_rows(5, 200, 0.1, 0.3, 0.0)
    found = build_metrics(reduce_batches([rows], scope), run=RUN)
    there, back = found.comparisons
    old, new = found.variants["baseline"], found.variants["candidate"]
    assert (there.baseline, there.candidate) == ("baseline", "candidate")
    assert tuple(there.overall) == COMPARED
    for name, change in there.overall.items():
        assert change.baseline == _value(getattr(old.overall, name))
        assert change.candidate == _value(getattr(new.overall, name))
        assert back.overall[name].candidate == change.baseline
    assert tuple(there.labels) == LABELS
    for label, change in there.labels.items():
        assert change.baseline == value_of(old.labels[label].f1)
        assert change.candidate == value_of(new.labels[label].f1)
    parts = there.distribution.model_dump()
    assert sum(parts.values()) == 21
    for kind, number in parts.items():
        assert number == sum(change.kind == kind for change in there.labels.values())


def _value(figure: Estimate | float | None) -> float | None:
    return figure.value if isinstance(figure, Estimate) else figure


def test_only_records_that_both_answered_are_compared() -> None:
    gold = np.ones((3, 21), dtype=np.int8)
    wrong = np.zeros_like(gold)
    rows = batch(
        gold,
        {
            "candidate": Answers(gold, ["ok", "ok", "truncated"]),
            "baseline": Answers(wrong, ["ok", "truncated", "ok"]),
        },
    )
    comparison = build_metrics(reduce_batches([rows], SCOPE), run=RUN).comparisons[0]
    assert comparison.records == 1
    assert comparison.overall["macro_f1"].candidate == 1
    success = comparison.overall["generation_success_rate"]
    assert success.baseline == success.candidate == pytest.approx(2 / 3)


def test_an_interval_holds_its_figure_and_a_label_with_few_opinions_has_none() -> None:
    rng = np.random.default_rng(3)
    gold = (rng.random((400, 21)) < 0.3).astype(np.int8)
    gold[:, 0] = 0
    gold[:9, 0] = 1
    flips = [rng.random(gold.shape) < share for share in (0.1, 0.3)]
    answers = [Answers(np.where(flip, 1 - gold, gold).astype(np.int8)) for flip in flips]
    rows = batch(
        gold,
        dict(zip(("candidate", "baseline"), answers, strict=True)),
        {"opinion_id": [str(i) for i in range(400)]},
    )
    found = build_metrics(reduce_batches([rows], SCOPE), run=RUN)
    few, *enough = found.variants["candidate"].labels.values()
    assert few.f1 is not None
    assert few.opinions == 9
    assert (few.f1.no_interval, few.f1.low) == ("too_few_opinions", None)
    for label in enough:
        assert label.f1 is not None
        assert label.f1.low < label.f1.value < label.f1.high
    overall = found.variants["candidate"].overall
    assert overall.supported_labels == list(LABELS[1:])
    assert overall.macro_f1.no_interval == "too_few_opinions"
    assert overall.macro_f1_supported.low < overall.macro_f1_supported.high
    comparison = found.comparisons[0]
    few_change, *changes = comparison.labels.values()
    assert (few_change.p, few_change.difference.no_interval) == (None, "too_few_opinions")
    assert few_change.opinions == 9
    for change in changes:
        assert change.difference.low > 0
        assert change.p <= change.p_corrected < 0.05
        assert change.mcnemar_p < 0.05  # one record an opinion
        assert change.opinions == change.disagreeing == 64  # or more
        assert change.relative.low < change.relative.value < change.relative.high
        assert 0 < change.detectable < change.difference.value


def test_without_replicates_nothing_has_an_interval() -> None:
    scope = Scope.of(["candidate", "baseline"], LABELS, ["language"], pairs=PAIR)
    found = build_metrics(reduce_batches([random_rows(5, 200, 0.1, 0.3, 0.1)], scope), run=RUN)
    for variant in found.variants.values():
        assert variant.overall.macro_f1.no_interval == "no_replicates"
        assert variant.overall.macro_f1_supported is None
        figures = [label.f1 for label in variant.labels.values() if label.f1 is not None]
        assert {figure.no_interval for figure in figures} == {"no_replicates"}
    assert all(
        change.p is change.opinions is change.disagreeing is None
        for change in found.comparisons[0].labels.values()
    )


def test_compared_figures_are_all_overall_figures() -> None:
    counts = {
        "rows",
        "answered_rows",
        "evaluated_rows",
        "rows_without_positives",
        "left_out",
        "supported_labels",
    }
    others = {
        f"macro_{rate}_undefined_as_{rule}" for rate in ("precision", "recall") for rule in (0, 1)
    }
    assert set(COMPARED) == set(OverallMetrics.model_fields) - counts - others


def test_undefined_is_null_and_never_zero() -> None:
    gold = np.zeros((2, 21), dtype=np.int8)
    gold[:, 0] = 1
    rows = batch(gold, {"v": Answers(np.zeros_like(gold), ["truncated", "ok"])})
    text = build_metrics(reduce_batches([rows], Scope.of(["v"], LABELS)), run=RUN).to_json()
    variant = json.loads(text)["variants"]["v"]
    assert variant["labels"]["funny"]["f1"] is None
    assert variant["labels"]["positive"]["f1"]["value"] == 0
    assert variant["labels"]["positive"]["precision"] is None
    assert variant["overall"]["macro_f1"]["value"] == 0
    assert variant["overall"]["macro_precision"] is None
    assert variant["overall"]["generation_success_rate"]["value"] == 0.5
    assert variant["throughput"] is None  # nothing had a time


def test_a_run_of_nothing_usable_has_no_figures() -> None:
    found = build_metrics(state(unusable=1), run=RUN)
    overall = found.variants["baseline"].overall
    assert (value_of(overall.generation_success_rate), overall.evaluated_rows) == (0, 0)
    assert overall.macro_f1 is overall.macro_f1_undefined_as_0 is overall.subset_accuracy is None
    assert found.comparisons[0].distribution.undefined == 21
    assert found.comparisons[0].overall["macro_f1"].kind == "undefined"


def test_an_empty_run_has_a_report() -> None:
    found = build_metrics(Reduction(SCOPE), run=RUN, timing=Timing(scoring_s=1.0))
    assert found.records.input == found.variants["baseline"].overall.rows == 0
    assert found.timing.seconds_per_sample is None
    assert found.variants["baseline"].slices == {}


def test_thresholds_are_shown_by_label() -> None:
    gold = np.ones((1, 21), dtype=np.int8)
    likely = np.full((1, 21), 0.4, dtype=np.float32)
    cuts = {label: index / 100 for index, label in enumerate(LABELS)}
    rows = batch(gold, {"v": Answers(np.zeros_like(gold), None, likely)})
    scope = Scope.of(["v"], LABELS, thresholds={"v": dict(reversed(cuts.items()))})
    variant = build_metrics(reduce_batches([rows], scope), run=RUN).variants["v"]
    assert variant.thresholds == cuts
    assert value_of(variant.overall.macro_recall) == 1  # labels as stored would give 0


def test_throughput_of_a_variant_is_that_of_its_replicas() -> None:
    found = build_metrics(state(), run=RUN).variants["baseline"].throughput
    assert found is not None
    assert list(found.replicas) == ["a", "b"]
    parts = list(found.replicas.values())
    for name in ("records", "output_tokens", "uncached_prompt_tokens", "cached_prompt_tokens"):
        assert getattr(found, name) == sum(getattr(part, name) for part in parts) > 0
    assert found.busy_s == pytest.approx(sum(part.busy_s for part in parts))
    assert found.records_per_s == pytest.approx(found.records / found.busy_s)
    assert found.seconds_per_record == pytest.approx(1 / found.records_per_s)
    assert found.first_start == min(part.first_start for part in parts)
    assert found.latency_p50_s <= found.latency_p95_s <= found.latency_p99_s


def test_calibration_of_probabilities_and_none_of_labels_alone() -> None:
    rng = np.random.default_rng(1)
    likely = rng.random((500, 21)).astype(np.float32)
    gold = (rng.random(likely.shape) < likely).astype(np.int8)
    rows = batch(gold, {"v": Answers((likely > 0.5).astype(np.int8), None, likely)})
    found = build_metrics(reduce_batches([rows], Scope.of(["v"], LABELS)), run=RUN).variants["v"]
    assert found.calibration is not None
    assert found.calibration.macro_ece < 0.08
    assert 0.75 < found.calibration.macro_auroc < 0.9  # 5/6, where rates equal probabilities
    label = found.calibration.labels["calm"]
    assert sum(each.records for each in label.bins) == label.records == 500
    assert label.curve.thresholds == sorted(label.curve.thresholds)
    assert len(label.curve.f1) == len(label.curve.thresholds) == 41
    bare = batch(gold, {"v": Answers(gold)})
    assert (
        build_metrics(reduce_batches([bare], Scope.of(["v"], LABELS)), run=RUN)
        .variants["v"]
        .calibration
        is None
    )


def test_an_incomplete_run_and_an_unknown_variant_are_refused() -> None:
    with pytest.raises(RunError, match="201 records, its predictions 200"):
        build_metrics(state(), run=RUN, input_records=201)
    with pytest.raises(ConfigError, match="'nobody'"):
        Scope.of(["baseline"], LABELS, pairs=[("baseline", "nobody")])


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_the_same_predictions_in_another_order_give_the_same_bytes(seed: int) -> None:
    rows = random_rows(seed, 60, 0.1, 0.3, 0.1)
    order = np.random.default_rng(seed).permutation(60)
    mixed = rows.take(order)
    texts = {
        build_metrics(reduce_batches(parts, SCOPE), run=RUN).to_json()
        for parts in ([rows], [mixed.slice(0, 20), mixed.slice(20)])
    }
    assert len(texts) == 1


def test_a_file_reads_back_as_it_was(tmp_path: Path) -> None:
    found = build_metrics(state(), run=RUN)
    path = tmp_path / "metrics.json"
    path.write_text(found.to_json())
    assert read_metrics(path) == found
    assert path.read_text() == Metrics.model_validate_json(path.read_text()).to_json()


def test_what_a_run_does_not_tell_is_not_in_the_file() -> None:
    gold = np.zeros((2, len(LABELS)), dtype=np.int8)
    scope = Scope.of(["v"], LABELS)
    for repaired, told in ((None, False), ([False, None], True)):
        rows = batch(gold, {"v": Answers(gold, repaired=repaired)})
        values = json.loads(build_metrics(reduce_batches([rows], scope), run=RUN).to_json())
        assert ("repaired" in values["variants"]["v"]) == told
    values = json.loads(build_metrics(state(), run=RUN).to_json())
    assert "labels_left_out" not in values["comparisons"][0]


def test_a_file_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(RunError, match=r"metrics\.json is not there"):
        read_metrics(path)
    values = json.loads(build_metrics(state(), run=RUN).to_json())
    path.write_text(json.dumps(values | {"records": {**values["records"], "skipped": 1}}))
    with pytest.raises(RunError, match=r"metrics\.json: records\.skipped"):
        read_metrics(path)
    path.write_text(json.dumps(values | {"schema_version": 3}))
    with pytest.raises(RunError, match="schema_version"):
        read_metrics(path)
    path.write_text("{")
    with pytest.raises(RunError, match=r"metrics\.json: the file"):
        read_metrics(path)
