"""Prompts, answers and labels that are files decide a fingerprint, and shipped ones as before."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from medsent.config.job import JobConfig
from medsent.config.labels import LABELS
from medsent.config.personas import load_personas
from medsent.models.hashes import sha256_file
from medsent.scoring.plan import make_plan
from tests.conftest import AdapterWriter, JobBuilder

ONEPASS = {
    "instructions": "Opinion of a patient:\n",
    "reader": "\nReader: {reader}\n",
    "cue": "Feels:",
}
BITS = {
    "instructions": (
        "You are given a patient's opinion of medical care and the reader who reads it. "
        "For each of the labels below decide whether that reader would give it to the opinion.\n"
        f"Labels: {', '.join(LABELS)}.\n"
        "Most labels name what the opinion is, shows or makes the reader feel. "
        '"more" means: I need more information to judge this text. '
        '"offensive" means: it offends me. "funny" means: it amuses me.\n'
        "Answer with 21 digits, one for each label in this order: 1 for yes, 0 for no.\n\n"
        "Opinion:\n"
    ),
    "reader": "\n\nReader: {reader}\n",
    "cue": "Answer:\n",
}
"""What decided a run's fingerprint before prompts were files."""


def test_a_run_from_before_prompts_were_files_goes_on(
    job: JobBuilder, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter")
    variants = {"plain": {}, "digits": {"method": "bits"}, "tuned": {"adapter": str(folder)}}
    plan = make_plan(job(variants=variants))
    files = ("adapter_model.safetensors", "adapter_config.json")
    adapter = [sha256_file(folder / file) for file in files]
    personas = {name: each.description for name, each in load_personas(None).items()}
    earlier = {
        "model": [plan.model_sha256, plan.config.model.dtype, None, 4096],
        "variants": {
            "plain": {"method": "onepass", "prompt": ONEPASS, "adapter": None},
            "digits": {"method": "bits", "prompt": BITS, "adapter": None},
            "tuned": {"method": "onepass", "prompt": ONEPASS, "adapter": adapter},
        },
        "personas": personas,
        "labels": LABELS,
        "engine": ["scripted", {}],
        "columns": plan.shards.columns,
        "keep": [],
    }
    text = json.dumps(earlier, sort_keys=True)
    assert plan.recipe == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.fixture
def fingerprint(job: JobBuilder, tmp_path: Path) -> Any:
    """Return a function from settings to a fingerprint; a value that is no text is a file."""

    def as_file(content: Any) -> str:
        file = tmp_path / f"{len([*tmp_path.iterdir()])}.yaml"
        file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        return str(file)

    def made(labels: Any = None, **variant: Any) -> str:
        for name in {"prompt", "answer"} & variant.keys():
            variant[name] = as_file(variant[name])
        config: JobConfig = job(
            labels=labels and as_file(labels),
            variants={"only": variant},
            input={"columns": {"labels": None}},
        )
        return make_plan(config).fingerprint

    return made


def test_what_files_say_changes_it(fingerprint: Any) -> None:
    prompt = {"text": "{labels}? {labels.described} {opinion}"}
    labels = [{"name": name} for name in LABELS]
    described = [{"name": "fear", "description": {"en": "it frightens me"}}, *labels[:5]]
    otherwise = [{"name": "fear", "description": {"en": "it scares me"}}, *labels[:5]]
    found = [
        fingerprint(method="json"),
        fingerprint(method="json", prompt=prompt),
        fingerprint(method="json", prompt={"text": "{labels}: {opinion}"}),
        fingerprint(method="json", prompt=prompt, labels=described),
        fingerprint(method="json", prompt=prompt, labels=otherwise),
        fingerprint(method="json", labels=described),
        fingerprint(method="json", labels=otherwise),
        fingerprint(method="json", labels=labels[::-1]),
        fingerprint(method="json", labels=labels[:1]),
        fingerprint(method="json", labels=[{"name": name} for name in ("Fear", "Joy")]),
        fingerprint(method="json", answer={"yes": 1, "no": 0}),
        fingerprint(method="json", answer={"yes": "tak", "no": "nie"}),
        fingerprint(method="json", answer={"form": "list"}),
        fingerprint(method="json", answer={"names": {"fear": "strach"}}),
        fingerprint(method="json", answer={"under": "labels"}),
        fingerprint(method="json", answer={"omitted": "no"}),
        fingerprint(method="json", answer={"style": "spaced"}),
        fingerprint(method="json", answer={"ascii": True}),
        fingerprint(method="json", guided=False),
        fingerprint(method="json", sampling={"temperature": 0.5}),
        fingerprint(method="json", sampling={"max_tokens": 50}),
        fingerprint(method="bits"),
        fingerprint(method="bits", prompt=prompt),
        fingerprint(method="bits", labels=labels[:5]),
        fingerprint(),
        fingerprint(prompt=prompt),
        fingerprint(labels=labels[:5]),
        fingerprint(labels=[{**labels[0], "word": "good"}, *labels[1:5]]),
    ]
    assert len(set(found)) == len(found)


def test_the_same_said_otherwise_does_not(fingerprint: Any, tmp_path: Path) -> None:
    shipped = fingerprint(method="json")
    assert fingerprint(method="json", answer={"form": "object", "yes": True}) == shipped
    assert fingerprint(method="json", answer={"guided": False}, guided=True) == shipped
    free = fingerprint(method="json", guided=False)
    assert free == fingerprint(method="json", answer={"guided": False})
    warm = fingerprint(method="json", answer={"sampling": {"seed": 1}})
    assert warm == fingerprint(method="json", sampling={"seed": 1})
    assert fingerprint(method="onepass", labels=[{"name": name} for name in LABELS]) == fingerprint(
        method="onepass"
    )
