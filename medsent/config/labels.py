"""The labels: what readers give to opinions, in the one order used everywhere."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any, Final

from pydantic import StringConstraints

from medsent.config.loader import Settings, read_entries
from medsent.errors import ConfigError
from medsent.storage.paths import any_path

_NOT_LABELS: Final = frozenset(
    ("record_id", "opinion_id", "text", "language", "persona", "date", "labels")
)
"""Names of our own columns, which no label may have: shards may have a column for each label."""

_NEAR: Final = 0.75
"""The similarity (0 to 1) from which one name may be a misspelling of another."""

Name = Annotated[
    str,
    StringConstraints(
        min_length=1, strip_whitespace=True, pattern=r"^[^.\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
    ),
]


class Label(Settings):
    """One label."""

    name: Name
    """A field of `labels` and `probabilities` in the predictions, and of the gold labels."""
    description: dict[str, str] = {}
    """Language code to what the label means; a prompt may hold it."""
    word: Name | None = None
    """The word that method `onepass` reads the label by; the name where null."""

    def describe(self, language: str) -> str:
        """Return the description in `language`, else in English, else in any, else nothing."""
        known = self.description
        return known.get(language) or known.get("en") or next(iter(known.values()), "")


@dataclass(frozen=True)
class Labels:
    """The labels of a job."""

    all: tuple[Label, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(label.name for label in self.all)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words that method `onepass` reads them by."""
        return tuple(label.word or label.name for label in self.all)

    def __len__(self) -> int:
        return len(self.all)

    def content(self) -> list[dict[str, Any]]:
        """Return the entries of a file of these labels, what is default left out."""
        return [label.model_dump(mode="json", exclude_defaults=True) for label in self.all]


def load_labels(path: str | None) -> Labels:
    """Read a label file (YAML list of name, description, word); None means the 21 that ship.

    Raises `ConfigError` naming the file and the entry at fault.
    """
    source = any_path(path) if path else files("medsent.config").joinpath("labels.yaml")
    labels = tuple(read_entries(Label, source, f"the label file {path}", words=True))
    found = Labels(labels)
    if not labels:
        raise ConfigError(f"the label file {path} names no label")
    for name in found.names:
        if found.names.count(name) > 1:
            raise ConfigError(f"the label file {path} names {name!r} twice")
        if name in _NOT_LABELS:
            raise ConfigError(f"the label file {path}: {name!r} is a column of ours; rename it")
    return found


def nearest(name: str, among: Iterable[str]) -> str | None:
    """Return the name in `among` spelt most like `name`, ignoring case; None if none is close."""
    folded = {each.strip().casefold(): each for each in among}
    close = difflib.get_close_matches(name.strip().casefold(), folded, n=1, cutoff=_NEAR)
    return folded[close[0]] if close else None


LABELS: Final = load_labels(None).names
"""The names of the 21 that ship."""
