"""What a variant is asked and how it is to answer, in words."""

from medsent.answers.file import AnswerFile
from medsent.engine.protocol import Ask
from medsent.models.adapter import ANSWER, PROMPT
from medsent.scoring.variant import Variant


def prompt_words(variant: Variant) -> str:
    """Say where a variant's prompt is from."""
    if variant.prompt_from == "job":
        source = str(variant.settings.prompt)
    elif variant.prompt_from == "adapter":
        source = f"{PROMPT} beside {_weights(variant)}"
    else:
        source = f"the one that ships for {variant.settings.method}"
    return f"{source}, digest {variant.prompt.digest()}"


def answer_words(variant: Variant, labels: int) -> str:
    """Say what a variant's answer looks like, and where an answer file is from."""
    if variant.answer is None:
        return variant.method.says.format(labels=labels)
    return f"{_form(variant.answer)}, {_answer_source(variant, variant.answer)}"


def sampling_words(ask: Ask) -> str:
    """Say how the engine is to write an answer."""
    drawn = "the most probable token each time"
    if ask.temperature:
        drawn = f"temperature {ask.temperature:g}, top_p {ask.top_p:g}, seed {ask.seed}"
    return f"at most {ask.max_tokens} tokens, {drawn}"


def _form(answer: AnswerFile) -> str:
    under = f" under {answer.under!r}" if answer.under else ""
    if answer.form == "list":
        what = f"JSON list of the labels given{under}"
    else:
        yes, no = answer.written(answer.yes), answer.written(answer.no)
        what = f"JSON object{under}, {yes} or {no} for each label"
    return f"{what}, {'under a grammar' if answer.guided else 'written freely'}"


def _answer_source(variant: Variant, answer: AnswerFile) -> str:
    settings = variant.settings
    if settings.answer is not None:
        source = str(settings.answer)
    elif variant.trained_as and variant.trained_as.answer:
        source = f"{ANSWER} beside {_weights(variant)}"
    else:
        source = "the answer file that ships"
    said = settings.guided is not None or any(value is not None for _, value in settings.sampling)
    return f"{source}{' with what the job says' if said else ''}, digest {answer.digest()}"


def _weights(variant: Variant) -> str:
    return f"the adapter {variant.adapter.source}" if variant.adapter else "the model"
