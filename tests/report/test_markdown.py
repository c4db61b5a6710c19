"""The Markdown report: what it says, and that it says it of the numbers it is given."""

import re

import pytest

from medsent.config.labels import LABELS
from medsent.metrics.estimate import value_of
from medsent.metrics.format import (
    count,
    percent,
    points,
    rate,
    seconds,
    share_interval,
    signed_interval,
)
from medsent.metrics.model import Finding, Metrics, Records
from medsent.report.claims import findings
from medsent.report.layout import contents
from medsent.report.markdown import escape, render_markdown
from medsent.report.tables.run import sum_of_input
from medsent.report.verdict import verdict
from tests.report.said import PAIR, pair_of, put, puts
from tests.report.sample import ATTACK, NOTE, metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def text(run: Metrics) -> str:
    return render_markdown(contents(run))


def table(text: str, caption: str) -> list[list[str]]:
    """Return the cells of the table under a caption, its heading first."""
    lines = text.partition(f"### {caption}\n\n")[2].partition("\n\n")[0].splitlines()
    rows = [re.split(r" (?<!\\)\| ", line.removeprefix("| ").removesuffix(" |")) for line in lines]
    return [rows[0], *rows[2:]]


def test_it_opens_with_the_note_and_the_verdict(run: Metrics, text: str) -> None:
    title, note, verdict, *_ = text.split("\n\n")
    change = run.comparisons[0].overall["macro_f1_supported"]
    assert change.difference is not None
    assert (title, note) == ("# demo", f"> **{NOTE}**")
    assert verdict == (
        "**finetuned is better than baseline on average: macro F1 "
        f"{percent(change.candidate)} against {percent(change.baseline)}, a difference of "
        f"{points(change.difference.value)} points (95% interval "
        f"{signed_interval(change.difference)}), more than chance would give.**"
    )
    assert "macro F1 is its mean over the labels with enough opinions." in text
    assert "likely lies in the interval: about 95 of 100 such intervals hold it." in text
    assert (
        "**95% interval.** Where the true figure, for all opinions like these read by the" in text
    )
    assert "new opinions" not in text
    assert "- p &lt;0.001 is how often chance would give a difference at least this large" in text
    assert "signifi" not in text


def test_no_difference_is_claimed_without_a_test() -> None:
    text = render_markdown(contents(metrics(replicates=0)))
    assert "of +29.0 points, without interval: no interval was asked for.**" in text
    assert "- This is a difference without interval" in text
    assert "than chance would give" not in text
    opened = text.partition("## Findings")[0]
    before, _, rest = opened.partition("better than")
    assert before.endswith("**It was not tested whether finetuned is ")
    assert rest.startswith(" baseline on average: macro F1 76.9% against 47.9%, a difference of +")
    assert "better than" not in rest
    assert "- In these figures, untested, F1 is higher for 18 labels, lower for 1, unch" in text
    assert "ᵃ no interval: none was asked for" in text
    assert "Labels by F1: **18 of 21** (higher; 1 lower, 1 unchanged, 1 undefined)" in text


def test_it_says_what_the_verdict_leaves_open(text: str) -> None:
    assert "Compared are the 594 records that both answered; baseline was evaluated on 594" in text
    assert "- Other averages are over 20 labels; undefined for both: vulgar" in text
    few = "Nothing can be said of 2 labels, since too few opinions have them or the two disagree "
    assert f"{few}too seldom: vulgar and political." in text
    assert "609 of 640 input records were scored, 31 quarantined" in text


def test_averages_over_other_labels_are_told_apart(run: Metrics) -> None:
    other = puts(
        run,
        **{
            "variants/baseline/overall/left_out": {"f1": ["vulgar"]},
            "variants/finetuned/overall/left_out": {"f1": []},
        },
    )
    told = "averages are not over the same labels: baseline leaves out vulgar, finetuned none"
    assert f"The other {told}, as undefined." in verdict(other)
    whole = put(other, f"{PAIR}/overall/macro_f1", pair_of(run).overall["macro_f1_supported"])
    assert f"The two {told}, as undefined." in verdict(whole)


def test_nothing_is_said_of_the_interval_of_a_difference_that_is_not(run: Metrics) -> None:
    for name in ("macro_f1", "macro_f1_supported"):
        run = puts(run, **{f"{PAIR}/overall/{name}/{key}": None for key in ("difference", "p")})
    first, *rest = verdict(run)
    assert first.startswith("finetuned and baseline cannot be compared by macro F1")
    assert rest
    assert not [sentence for sentence in rest if "interval" in sentence or "chance" in sentence]


def test_of_many_labels_without_a_test_the_first_ten_are_named(run: Metrics) -> None:
    for label in LABELS:
        run = puts(run, **{f"{PAIR}/labels/{label}/{key}": None for key in ("p", "p_corrected")})
    run = put(run, f"{PAIR}/labels/calm/p", 0.2)
    [told] = [sentence for sentence in verdict(run) if sentence.startswith("Nothing can be said")]
    others = [label for label in LABELS if label != "calm"]
    assert told.startswith("Nothing can be said of 20 labels")
    assert told.endswith(f"too seldom: {', '.join(others[:10])} and 10 more.")


def test_averages(run: Metrics, text: str) -> None:
    head, *rows = table(text, "finetuned against baseline")
    assert head[:3] == ["Figure", "baseline", "finetuned"]
    by_name = {row[0]: row[1:] for row in rows}
    changes = run.comparisons[0].overall
    for title, name in {
        "Generation success rate": "generation_success_rate",
        "Accuracy, mean over labels": "accuracy",
        "Macro F1": "macro_f1",
        "Macro precision": "macro_precision",
        "Macro recall": "macro_recall",
        "Micro F1": "micro_f1",
        "Weighted F1": "weighted_f1",
        "Samples F1": "samples_f1",
        "Hamming accuracy": "hamming_accuracy",
        "Subset accuracy": "subset_accuracy",
    }.items():
        change = changes[name]
        assert by_name[title][:2] == [percent(change.baseline), percent(change.candidate)]
        assert change.difference is not None
        shown = by_name[title][2]
        assert shown.startswith(points(change.difference.value))
        interval = signed_interval(change.difference)
        assert shown.endswith("ᵃ" if interval is None else rf"\[{interval}\]")


def test_the_two_other_rules_for_undefined(run: Metrics, text: str) -> None:
    rows = table(text, "Macro averages under each rule for undefined labels")[1:]
    overall = run.variants["baseline"].overall
    assert rows[1] == [
        "Macro precision",
        "baseline",
        f"{percent(value_of(overall.macro_precision))}ᵃ",
        percent(overall.macro_precision_undefined_as_0),
        percent(overall.macro_precision_undefined_as_1),
        "fear, vulgar",
    ]


def test_labels_in_order_with_undefined_as_a_dash_and_its_reason(run: Metrics, text: str) -> None:
    rows = table(text, "Labels: finetuned against baseline")[1:]
    assert [row[0].split(" ")[0] for row in rows] == list(LABELS)
    vulgar = rows[LABELS.index("vulgar")]
    assert vulgar[0] == "vulgar (few positives)"
    assert [cell[0] for cell in vulgar[3:13]] == ["–"] * 10
    fear = rows[LABELS.index("fear")]
    assert fear[3].startswith("0.0% ")
    assert fear[8] == "from zero"
    assert fear[9] == "–ᵃ"
    assert "ᵃ undefined: the label was never given;" in text
    assert "no interval: too few opinions to tell" in text
    assert rows[LABELS.index("ironic")][5].startswith("−")
    precision = run.variants["finetuned"].labels["happiness"].precision
    assert precision is not None
    shown = rf"{percent(precision.value)} \[{share_interval(precision)}\]"
    assert rows[LABELS.index("happiness")][10] == shown


def test_the_distribution_adds_up_and_names_every_label_once(text: str) -> None:
    *rows, total = table(text, "Labels by improvement: finetuned against baseline")[1:]
    assert total[:2] == ["All labels", "21"]
    assert sum(int(row[1]) for row in rows) == 21
    named = [label for row in rows for label in row[2].split(", ") if label]
    assert sorted(named) == sorted(LABELS)
    assert {row[0]: row[2] for row in rows}["Worse"] == "ironic"


def test_calibration(run: Metrics, text: str) -> None:
    head, *rows = table(text, "Probabilities by label")
    titles = ("Average precision", "AUROC", "Brier", "ECE", "Positives", "Records")
    assert head[1:7] == [f"baseline: {title}" for title in titles]
    assert [row[0].split(" ")[0] for row in rows] == list(LABELS)
    for label, row in zip(LABELS, rows, strict=True):
        for first, variant in ((1, "baseline"), (7, "finetuned")):
            calibration = run.variants[variant].calibration
            assert calibration is not None
            found = calibration.labels[label]
            known = [found.average_precision, found.auroc, found.brier, found.ece]
            shown = ["–ᵃ" if value is None else f"{value:.3f}" for value in known]
            assert row[first : first + 6] == [
                *shown, count(found.positives), count(found.records)
            ]  # fmt: skip
    assert rows[LABELS.index("vulgar")][1:3] == ["–ᵃ", "–ᵃ"]
    means = table(text, "Probabilities, all labels")[1:]
    assert [row[0] for row in means] == ["Average precision", "AUROC", "Brier", "ECE"]
    assert "These figures have no intervals" in text
    order = [text.index(f"\n## {title}\n") for title in ("Labels", "Calibration", "Slices")]
    assert order == sorted(order)
    assert "## Calibration" not in render_markdown(contents(metrics(gold=False)))


def test_slices_and_personas(run: Metrics, text: str) -> None:
    languages = table(text, "Macro F1 by language")[1:]
    assert [row[0] for row in languages] == ["en", "pl"]
    english = run.variants["finetuned"].slices["language=en"].overall
    assert languages[0][1] == count(english.rows)
    assert english.macro_f1_supported is not None
    assert languages[0][3].startswith(percent(english.macro_f1_supported.value))
    change = run.comparisons[0].slices["language=en"]
    assert change.difference is not None
    assert languages[0][4].startswith(points(change.difference.value))
    assert languages[0][5] == "&lt;0.001"
    personas = table(text, "F1 of finetuned by persona and label, in percent")
    assert personas[0] == ["Persona", *LABELS]
    assert len(personas) == 17
    surgeon = run.variants["finetuned"].slices["persona=surgeon"].labels["understandable"]
    row = next(row for row in personas if row[0] == "surgeon")
    assert surgeon.f1 is not None
    assert row[1 + LABELS.index("understandable")] == f"{100 * surgeon.f1.value:.0f}"


def test_time_and_throughput(run: Metrics, text: str) -> None:
    times = {row[0]: row[1] for row in table(text, "Wall-clock time")[1:]}
    assert times["Total"] == seconds(run.timing.total_s) == "3 min 08 s"
    assert times["Per sample: scoring / records, all variants"] == "200 ms"
    speeds = {row[0]: row[1:] for row in table(text, "Throughput by variant")[1:]}
    for index, variant in enumerate(run.variants.values()):
        assert variant.throughput is not None
        assert speeds["Records per second"][index] == rate(variant.throughput.records_per_s)
        assert speeds["Latency, p95"][index] == seconds(variant.throughput.latency_p95_s)
    assert len(table(text, "Throughput by replica")) == 1 + 4


def test_records_and_answers(run: Metrics, text: str) -> None:
    assert "Input 640 = 609 scored + 31 quarantined." in text
    outcomes = {row[0]: int(row[1]) for row in table(text, "What became of the input")[1:]}
    assert outcomes.pop("Input") == sum(outcomes.values()) == 640
    statuses = table(text, "Answers by status")[1:]
    assert [
        "baseline",
        "invalid_answer",
        "not in the form that was asked for",
        "15",
        "2.5%",
    ] in statuses


def test_provenance_is_flat_and_long_lists_are_cut(text: str) -> None:
    facts = dict(table(text, "What made the predictions")[1:])
    assert facts["model.sha256"] == "6f0a" * 16
    assert facts["versions.vllm"] == "0.32.0"
    assert facts["commit"] == "none"
    assert facts["input 20"] == "path shard-019.parquet, size 48213"
    assert facts["input, more"] == "4 in metrics.json"


def test_nothing_python_shows_through(text: str) -> None:
    assert not re.search(r"\b(nan|None|inf|True|False)\b", text)


def test_the_same_numbers_give_the_same_bytes(text: str) -> None:
    assert render_markdown(contents(metrics())) == text


def test_names_cannot_be_markup() -> None:
    hostile = metrics(
        name=ATTACK, note="*x* [a](b)", personas=["a|b", "`c`", "d\ne", "\u202ef"], reason="<b>|"
    )
    text = render_markdown(contents(hostile))
    assert text.startswith("# &lt;script&gt;alert(1)&lt;/script&gt;\n")
    assert "<script" not in text
    assert "<b>" not in text
    assert r"> **\*x\* \[a\](b)**" in text
    personas = [row[0] for row in table(text, "Macro F1 by persona")[1:]]
    assert personas == [r"\`c\`", r"a\|b", "d⟨U+000A⟩e", "⟨U+202E⟩f"]
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("family_doctor", "family_doctor"),
        ("_x_", r"\_x\_"),
        ("- x", r"\- x"),
        ("1. x", r"1\. x"),
        ("---", r"\---"),
        ("+21.7", "+21.7"),
        ("a & <b>", "a &amp; &lt;b&gt;"),
        ("# x", r"\# x"),
    ],
)
def test_escape(plain: str, escaped: str) -> None:
    assert escape(plain) == escaped


def test_a_run_without_a_comparison_claims_none() -> None:
    text = render_markdown(contents(metrics(compare=())))
    assert "**Macro F1: baseline 47.9%, finetuned 77.0%.**" in text  # two labels are too rare
    assert "nothing is said to be better" in text
    assert "Relative improvement |" not in text
    assert [row[0].split(" ")[0] for row in table(text, "Labels by variant")[1:]] == list(LABELS)


def test_a_run_without_gold_says_so_and_shows_what_was_given() -> None:
    run = metrics(gold=False, timed=False)
    text = render_markdown(contents(run))
    assert "No usable answer has gold to compare it with" in text
    assert "Macro F1" not in text.partition("## Definitions")[0]
    given = table(text, "Share of answers with each label")
    rate_given = run.variants["finetuned"].labels["calm"].predicted_rate
    assert rate_given is not None
    assert given[1 + LABELS.index("calm")][2].startswith(percent(rate_given.value))
    assert "No answer was timed" in text
    sums = {
        name: sum(
            label.predicted_rate.value for label in each.labels.values() if label.predicted_rate
        )
        for name, each in run.variants.items()
    }
    assert f"finetuned gives {sums['finetuned']:.1f} labels a record, most often " in text
    by_reader = table(text, "Share of answers of finetuned with each label by persona, in percent")
    readers = run.variants["finetuned"].slices
    assert len(by_reader) == 1 + sum(key.startswith("persona=") for key in readers)
    rate_of_one = readers[f"persona={by_reader[1][0]}"].labels["calm"].predicted_rate
    assert rate_of_one is not None
    assert by_reader[1][2 + LABELS.index("calm")] == f"{100 * rate_of_one.value:.1f}"


def test_findings_duplicates_and_mixed_rates_are_told(run: Metrics) -> None:
    numbers = {"f1": 0.75, "mcc": None, "records": 12_000, "p": 1e-9, "low": -0.1}
    finding = Finding(
        section="standouts", rule="standout_gain", text="Fear is found.", numbers=numbers
    )
    speed = run.variants["baseline"].throughput
    assert speed is not None
    mixed = speed.model_copy(update={"shared_s": 0.9 * speed.busy_s})
    baseline = run.variants["baseline"].model_copy(update={"throughput": mixed})
    told = run.model_copy(
        update={
            "findings": [finding],
            "records": run.records.model_copy(update={"duplicate_record_ids": 1}),
            "variants": {**run.variants, "baseline": baseline},
        }
    )
    text = render_markdown(contents(told))
    shown = "f1 0.75, mcc –, records 12,000, p &lt;0.001, low −0.1"
    assert f"- Fear is found.\n  - Rule standout_gain: {shown}\n" in text
    assert "1 record with the record_id of an earlier one." in text
    assert "Most of the busy time of baseline was shared with other variants" in text
    assert "### Standouts" in text
    assert "### Recommendations" not in text
    assert "Most of the busy time" not in render_markdown(contents(run))


def test_findings_stand_under_their_titles_with_few_of_their_numbers(
    run: Metrics, text: str
) -> None:
    part = text.partition("## Findings")[2].partition("\n## ")[0]
    assert re.findall("### (.*)", part) == [
        "Key findings",
        "Standouts",
        "Areas for attention",
        "Recommendations",
        "Trade-offs",
    ]
    told = re.findall("^- (.*)\n  - Rule ([a-z0-9_]+): (.*)$", part, re.MULTILINE)
    assert [rule for _, rule, _ in told] == [each.rule for each in run.findings]
    assert [text for text, _, _ in told] == [escape(each.text) for each in run.findings]
    [numbers] = [numbers for _, rule, numbers in told if rule == "labels_higher"]
    assert numbers.startswith("labels 17, tested 19, records 594, ")
    assert numbers.endswith("14 more in metrics.json")
    assert "**Rule labels_higher.** The labels whose F1 is higher" in text


def test_what_is_a_p_value_is_told_by_the_whole_name_not_by_how_a_label_ends(run: Metrics) -> None:
    numbers = {"ece_p": 0.00012, "f1_group_p": 0.00012, "p_corrected_calm": 1e-9, "p_corrected": 0}
    one = run.findings[0].model_copy(update={"numbers": numbers})
    [claims] = findings(run.model_copy(update={"findings": [one]}))
    assert dict(claims.claims[0].numbers) == {
        "ece_p": "0.00012",
        "f1_group_p": "0.00012",
        "p_corrected_calm": "<0.001",
        "p_corrected": "<0.001",
    }


def test_two_comparisons_are_kept_apart() -> None:
    both = [("baseline", "finetuned"), ("finetuned", "baseline")]
    text = render_markdown(contents(metrics(compare=both)))
    assert "**finetuned is better than baseline on average: macro F1 79.4% against 48.9%" in text
    assert "baseline is worse than finetuned on average: macro F1 48.9% against 79.4%, a" in text
    assert "- baseline against finetuned: F1 is higher for 1 label, lower for 17" in text
    behind = text.partition("Behind the verdict:")[2].partition("## Findings")[0]
    for once in ("macro F1 is its mean", "The true difference", "is how often chance"):
        assert behind.count(once) == 1
    ps = "p, &lt;0.001 for finetuned against baseline and &lt;0.001 for baseline against finetuned"
    assert f"- {ps}, is how often chance would give" in behind
    for name in ("finetuned against baseline", "baseline against finetuned"):
        assert f"- {name}: compared are the 594 records that both answered" in behind
        assert f"- {name}: other averages are over 20 labels" in behind
        assert f"- {name}: nothing can be said of 2 labels" in behind
    assert table(text, "baseline against finetuned")[3][3] == "−29.0ᵃ"
    head = table(text, "Macro F1 by language")[0]
    assert "Macro F1: baseline − finetuned, points" in head


def test_mcnemar_stands_beside_accuracy_where_each_opinion_has_one_record(run: Metrics) -> None:
    (comparison,) = run.comparisons
    caption = f"Labels: {comparison.candidate} against {comparison.baseline}"
    several = render_markdown(contents(run))  # records an opinion
    assert "McNemar" not in " ".join(table(several, caption)[0])
    labels = {
        label: change.model_copy(update={"mcnemar_p": 0.031 if label == LABELS[0] else None})
        for label, change in comparison.labels.items()
    }
    single = run.model_copy(
        update={"comparisons": [comparison.model_copy(update={"labels": labels})]}
    )
    text = render_markdown(contents(single))
    head, first, second, *_ = table(text, caption)
    assert head[-1].removesuffix(" |") == "Accuracy: McNemar's p"
    assert [first[-1], second[-1]] == ["0.031", "–"]


def test_a_sum_that_is_wrong_is_said_loudly() -> None:
    wrong = Records(input=10, scored=7, quarantined=2, by_reason={"empty_text": 2})
    assert sum_of_input(wrong).startswith("This does not add up: input 10, 7 scored")
    lost = Records(input=9, scored=7, quarantined=2, by_reason={"empty_text": 1})
    assert sum_of_input(lost).startswith("This does not add up")
