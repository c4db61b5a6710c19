"""Writes synthetic opinions: sentences from a phrase bank, with typos and lost diacritics."""

import re
from importlib.resources import files

import numpy as np
import yaml

_FEWEST_WORDS, _MOST_WORDS = 40, 120
_HELD_OUT = 0.2  # the last fifth of each cue's phrases is never trained on
_CHOICE = re.compile(r"\{([^{}]*)\}")
_DIACRITICS = str.maketrans("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "acelnoszzACELNOSZZ")


class OpinionWriter:
    """Turns the cues of one opinion into text in one language.

    With `held_out` it uses only the phrases kept out of training, else only the others.
    """

    def __init__(self, language: str, cues: tuple[str, ...], held_out: bool = False) -> None:
        folder = files("medsent.demo").joinpath("phrases")
        bank: dict[str, list[str]] = yaml.safe_load(
            folder.joinpath(f"{language}.yaml").read_text(encoding="utf-8")
        )
        self._language = language
        self._cues = [_part(bank[cue], held_out) for cue in cues]
        self._filler = _part(bank["filler"], held_out)

    def write(self, strengths: np.ndarray, rng: np.random.Generator) -> str:
        """Return an opinion of 40 to 120 words with each cue of `strengths`, shape (cues,)."""
        sentences: list[str] = []
        for cue in np.flatnonzero(strengths):
            sentences += _pick(self._cues[cue], 2 if strengths[cue] > 1 else 1, rng)
        fillers = iter(_pick(self._filler, 6, rng))
        while _words(sentences) < _FEWEST_WORDS or rng.random() < 0.2:
            filler = next(fillers, None)
            if filler is None or _words([*sentences, filler]) > _MOST_WORDS:
                break
            sentences.append(filler)
        rng.shuffle(sentences)
        return self._roughen(" ".join(sentences), rng)

    def _roughen(self, text: str, rng: np.random.Generator) -> str:
        if self._language == "pl" and rng.random() < 0.2:
            text = text.translate(_DIACRITICS)
        if rng.random() < 0.1:
            text = text.lower()
        typos = rng.integers(1, 4) if rng.random() < 0.25 else 0
        for _ in range(typos):
            text = _typo(text, rng)
        return text


def _part(phrases: list[str], held_out: bool) -> list[str]:
    cut = len(phrases) - int(len(phrases) * _HELD_OUT)
    return phrases[cut:] if held_out else phrases[:cut]


def _pick(phrases: list[str], count: int, rng: np.random.Generator) -> list[str]:
    chosen = rng.choice(len(phrases), size=count, replace=False)
    return [_choose(phrases[index], rng) for index in chosen]


def _choose(phrase: str, rng: np.random.Generator) -> str:
    def one(match: re.Match[str]) -> str:
        options = match.group(1).split("|")
        return options[rng.integers(len(options))]

    return _CHOICE.sub(one, phrase)


def _typo(text: str, rng: np.random.Generator) -> str:
    """Swap, drop or double one letter inside a word."""
    at = int(rng.integers(1, len(text) - 2))
    if not (text[at].isalpha() and text[at + 1].isalpha()):
        return text
    slips = (
        text[:at] + text[at + 1] + text[at] + text[at + 2 :],
        text[:at] + text[at + 1 :],
        text[: at + 1] + text[at:],
    )
    return slips[rng.integers(3)]


def _words(sentences: list[str]) -> int:
    return sum(len(sentence.split()) for sentence in sentences)
