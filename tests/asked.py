"""What is asked by default: the methods and prompts that ship, of the 21 labels."""

from typing import Any

from medsent.answers.file import shipped_answer
from medsent.answers.method import Method, method_named
from medsent.answers.methods.bits import Bits
from medsent.answers.methods.json import Json
from medsent.answers.methods.onepass import OnePass
from medsent.config.labels import load_labels
from medsent.config.methods import MethodName
from medsent.config.personas import Persona, load_personas
from medsent.prompts.file import shipped_prompt
from medsent.prompts.prompter import Prompter


def shipped_method(name: MethodName, tokenizer: Any) -> Method:
    """Return an answer method of the labels that ship."""
    return method_named(name).bind(tokenizer, load_labels(None), shipped_answer())


def onepass(tokenizer: Any) -> OnePass:
    """Return the method that reads the token after the prompt."""
    return OnePass(tokenizer, load_labels(None))


def bits(tokenizer: Any) -> Bits:
    """Return the method that answers in digits."""
    return Bits(tokenizer, load_labels(None))


def json_object(tokenizer: Any) -> Json:
    """Return the method that answers with an object of true and false, under a grammar."""
    return Json(tokenizer, load_labels(None), shipped_answer())


def shipped_prompter(
    tokenizer: Any, name: MethodName = "onepass", personas: dict[str, Persona] | None = None
) -> Prompter:
    """Return what makes a method's prompts; of the shipped personas where none are given."""
    readers = load_personas(None) if personas is None else personas
    return Prompter(tokenizer, shipped_prompt(name), readers, load_labels(None))
