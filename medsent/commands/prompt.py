"""`medsent prompt`: what a record is asked, to the last token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from medsent.answers.method import Method
from medsent.commands.prompt_against import Compared, compare, difference_lines, read_lines
from medsent.config.job import JobConfig
from medsent.config.labels import Labels, load_labels
from medsent.config.personas import Persona, load_personas
from medsent.errors import InputError, MedsentError, UsageError
from medsent.input.lookup import Lookup, Row
from medsent.input.shards import open_shards
from medsent.models.source import load_tokenizer, resolve_model
from medsent.prompts.file import PromptFile
from medsent.prompts.languages import languages_of
from medsent.prompts.prompter import Prompter
from medsent.prompts.sharing import Sharing, sharing
from medsent.prompts.visible import LEGEND, harmless, marked, token_texts
from medsent.scoring.asked import answer_words, prompt_words, sampling_words
from medsent.scoring.variant import Variant, open_variants
from medsent.storage.paths import any_path

_STAND_IN: Final = "The nurse was kind, but I waited for two hours."
"""In the place of an opinion: those are medical data, and shown only where asked for."""
_REST: Final = 80
"""Characters of what follows a prompt that are shown."""
_MARGIN: Final = "  | "
"""Before each line of a prompt, so that none looks like one of the command's own."""


def show(
    config: JobConfig,
    variant: str | None = None,
    record: str | None = None,
    against: str | None = None,
) -> Iterator[str]:
    """Yield the prompts of a job, and how what a training pipeline rendered compares, as lines.

    `variant` is the one of it, all where None; `record` the record_id, a stand-in where None;
    `against` a file of JSON lines. Lines may quote an opinion.
    Raises `MedsentError`; that of exit code 1 where the prompts differ from the file.
    """
    job = _Job.open(config, variant)
    if record is not None or against is None:
        yield from _shown(job, job.records(record))
    if against is not None:
        yield from _compare(job, against)


@dataclass(frozen=True)
class _Job:
    """What of a job is needed to ask, without its weights."""

    config: JobConfig
    personas: dict[str, Persona]
    labels: Labels
    variants: tuple[Variant, ...]
    tokenizer: Any

    @classmethod
    def open(cls, config: JobConfig, variant: str | None) -> "_Job":
        if variant is not None and variant not in config.variants:
            known = ", ".join(config.variants)
            raise UsageError(f"--variant {variant} is no variant of the job ({known})")
        some = {name: v for name, v in config.variants.items() if variant in (None, name)}
        personas, labels = load_personas(config.personas), load_labels(config.labels)
        weights = any(each.adapter for each in some.values())  # which an adapter is held against
        model = config.model
        folder = resolve_model(model.source, model.revision, weights=weights)
        variants = open_variants(some, dict.fromkeys(some), labels, folder)
        return cls(config, personas, labels, variants, load_tokenizer(folder))

    @cached_property
    def lookup(self) -> Lookup:
        """The input's records. Raises `InputError`."""
        settings = self.config.input
        readers = sorted(self.personas) if settings.fan_out == "personas" else []
        prompts = [variant.prompt for variant in self.variants]
        return Lookup(
            open_shards(settings, self.labels.names),
            self.personas,
            readers,
            languages=languages_of(self.personas.values(), self.labels, prompts),
        )

    def bind(self, variant: Variant) -> tuple[Method, Prompter]:
        return variant.bind(self.tokenizer, self.personas, self.labels)

    def records(self, record_id: str | None) -> list[Row] | None:
        """Return the records of an id, at least one; None for the stand-in."""
        if record_id is None:
            return None
        found = self.lookup.named([record_id]).get(record_id)
        if not found:
            raise InputError(
                f"--record {harmless(record_id)}: no record of {self.config.input.path} has this "
                "record_id"
            )
        return found

    def stand_in(self, prompt: PromptFile) -> Row:
        """Return a made-up record in a language that the prompt has words for."""
        spoken = prompt.spoken or ("en",)
        language = prompt.language or ("en" if "en" in spoken else spoken[0])
        settings = self.config.input
        named = settings.fan_out == "personas" or settings.columns.get("persona", "") is not None
        persona = next(iter(self.personas), None) if named else None
        made = {"record_id": None, "text": _STAND_IN, "reason": None}
        return {**made, "language": language, "persona": persona}


def _shown(job: _Job, records: list[Row] | None) -> Iterator[str]:
    """Yield what each variant asks about some records, or about the stand-in."""
    yield LEGEND
    for variant in job.variants:
        method, prompter = job.bind(variant)
        how = variant.settings.method
        yield ""
        yield _line("Variant", f"{variant.name}: method {how}")
        yield _line("Prompt", prompt_words(variant))
        yield _line("Answer", answer_words(variant, len(job.labels)))
        if (form := method.ask.form) is not None:
            first = [place == 0 for place in range(len(job.labels))]
            yield _line("", sampling_words(method.ask))
            yield _line("", f"such as this, which gives {job.labels.names[0]} alone:")
            yield from _margined(harmless(form.write(first), newlines=True))
        every = records if records is not None else [job.stand_in(variant.prompt)]
        # With fan-out all are shown, one a reader; else several rows share an id by mistake.
        some = every if job.config.input.fan_out == "personas" else every[:1]
        for row in some:
            yield from _record(job, row, prompter, len(every) - len(some))
        if (asked := next((row for row in some if not row["reason"]), None)) is not None:
            yield _line("Readers", _shared(job, variant, prompter, asked))


def _record(job: _Job, row: Row, prompter: Prompter, others: int) -> Iterator[str]:
    name = row["record_id"]
    told = "a made-up opinion; --record ID shows one of the input" if name is None else name
    told = f"{harmless(told)}; language {harmless(row['language'] or 'none')}"
    yield _line("Record", f"{told}, persona {harmless(row['persona'] or 'none')}")
    if others:
        yield _line("", f"the first of {others + 1} with this record_id")
    if row["reason"]:
        yield _line("", f"is not asked: {row['reason']}")
        return
    asked = row["text"], row["language"], row["persona"]
    ids = prompter.prompt(*asked)
    yield from _margined(marked(prompter.parts(*asked), job.tokenizer))
    yield _line("Token ids", f"{len(ids)}: {' '.join(map(str, ids))}")


def _shared(job: _Job, variant: Variant, prompter: Prompter, row: Row) -> str:
    """Say what all readers of an opinion share of their prompts."""
    if len(job.personas) < 2:
        return "the persona file has one persona"
    if not variant.prompt.names_persona:
        return "the prompt does not say who reads, so that it is the same for all"
    found = sharing(prompter, row["text"], row["language"], list(job.personas))
    lengths = sorted({min(found.lengths), max(found.lengths)})
    told = (
        f"{len(job.personas)} readers of this opinion share the first {found.shared} of "
        f"{' to '.join(map(str, lengths))} tokens: {found.computed:,} to compute in place of "
        f"{found.total:,}"
    )
    return told + (_dearer(found) if variant.prompt.persona_first else "")


def _dearer(found: Sharing) -> str:
    return (
        f"; with the persona after the opinion {found.moved:,}, so that this order takes "
        f"{found.computed / found.moved:.1f} times the tokens"
    )


def _compare(job: _Job, path: str) -> Iterator[str]:
    """Yield how the prompts of a file's records compare with the file."""
    variant = _the_one(job.variants)
    _, prompter = job.bind(variant)
    file = any_path(path)
    found = compare(file, read_lines(file), prompter, job.lookup)
    yield _line("Prompt", f"{variant.name}: {prompt_words(variant)}")
    if found.texts:
        yield "Text lines say nothing of BOS; give token ids to compare that."
    for reason, count in found.unasked.items():
        yield f"{file}: {count} lines are of records that are not asked: {reason}"
    if found.differences:
        yield from difference_lines(found.differences[0], file, prompter, job.tokenizer)
        first = found.differences[0].line.number
        raise MedsentError(
            f"{file}: {len(found.differences)} of {found.lines} lines differ from what variant "
            f"{variant.name} is asked, line {first} first"
        )
    yield _agreement(found, path, prompter, job.tokenizer)


def _agreement(found: Compared, path: str, prompter: Prompter, tokenizer: Any) -> str:
    if not found.lines:
        raise MedsentError(f"{path}: no line is of a record that is asked")
    told = f"{path}: equal in all {found.lines}"
    if found.rest is None:
        return told
    rest = found.rest
    if not isinstance(rest, str):
        rest = "".join(token_texts(rest, prompter.forbidden, tokenizer))
    shown = harmless(rest)
    cut = "..." if len(shown) > _REST else ""
    return (
        f"{told}; {found.longer} go on after the prompt, the first with: {shown[:_REST]}{cut} "
        "(that should be the answer; if it is not, the prompt lacks its end)"
    )


def _the_one(variants: Sequence[Variant]) -> Variant:
    """Return the first variant; refuse several that are asked unlike each other."""
    if any(each.prompt != variants[0].prompt for each in variants):
        names = ", ".join(each.name for each in variants)
        raise UsageError(
            f"--against: the variants have different prompts; give --variant, one of {names}"
        )
    return variants[0]


def _margined(text: str) -> Iterator[str]:
    yield from (f"{_MARGIN}{line}" for line in text.split("\n"))


def _line(heading: str, text: str) -> str:
    return f"{heading:<15} {text}"
