"""YAML files of settings: unknown keys are errors that name the nearest known one."""

import difflib
import re
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidationInfo

from medsent.errors import ConfigError
from medsent.storage.paths import AnyPath, any_path

_BOOL = "tag:yaml.org,2002:bool"
_MERGE = "tag:yaml.org,2002:merge"
_KEPT = "kept"


class Settings(BaseModel):
    """Base of every group of settings: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


S = TypeVar("S", bound=Settings)


def load_settings(
    kind: type[S],
    path: str | AnyPath,
    overrides: list[str] | None = None,
    words: bool = False,
    name: str = "the configuration",
    kept: bool = False,
) -> S:
    """Read `path` as `kind`, with `key.sub=YAML value` overrides applied.

    With `words`, yes, no, on and off are words, as in YAML 1.2; only true and false are booleans.
    `name` is what messages call the file where it cannot be read. `kept` says that it is a run's
    own copy, in which everything is accepted that an earlier version accepted.

    Raises `ConfigError` that names the file, the setting, and what would be right.
    """
    values = read_yaml(any_path(path), f"{name} {path}", words)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of settings, like jobs/demo.yaml")
    for override in overrides or []:
        _apply(values, override)
    try:
        return kind.model_validate(values, context={_KEPT: kept})
    except ValidationError as error:
        lines = [_explain(kind, dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from error


def is_kept(info: ValidationInfo) -> bool:
    """Tell a validator whether what it looks at is a run's own copy."""
    return bool((info.context or {}).get(_KEPT))


def fitting(kinds: Sequence[type[S]], path: str | AnyPath) -> type[S]:
    """Return the kind that knows most of a file's top-level keys, the first of equals."""
    values = read_yaml(any_path(path), f"the configuration {path}")
    keys = set(values) if isinstance(values, dict) else set()
    return max(kinds, key=lambda kind: len(keys & kind.model_fields.keys()))


class _TwiceError(yaml.MarkedYAMLError):
    """A key is given twice."""


class _Once(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML lets the last one win, and nobody is told."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            before = seen.setdefault((key.tag, key.value), key)
            if before is not key:
                first = before.start_mark.line + 1
                told = f"{key.value} is given twice, first in line {first}; take one out"
                raise _TwiceError(None, None, told, key.start_mark)
        return node


class _Words(_Once):
    """Takes yes, no, on and off for words, as they are in YAML 1.2."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Words.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), "tTfF")


class _Lines(yaml.SafeDumper):
    """Writes a text of several lines in several lines."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    if not {"\x85", "\u2028", "\u2029"}.isdisjoint(text):
        style = '"'  # else these would be read as ends of lines
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Lines.add_representer(str, _text)


def read_yaml(source: Traversable | AnyPath, name: str, words: bool = False) -> Any:
    """Return what a YAML file holds. Raises `ConfigError` of one line that names it `name`.

    With `words`, yes, no, on and off are words.
    """
    try:
        text = source.read_text(encoding="utf-8")
        return yaml.load(text, _Words if words else _Once)  # both are safe ones
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text: {error.reason}") from error
    except _TwiceError as error:
        raise ConfigError(f"{name}: {_first_problem(error)}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {_first_problem(error)}") from error


def read_entries(
    kind: type[S], source: Traversable | AnyPath, name: str, words: bool = False
) -> list[S]:
    """Return the entries of a YAML file that is a list of one kind of settings.

    Raises `ConfigError` that names the file and the first entry at fault.
    """
    entries = read_yaml(source, name, words)
    try:
        return TypeAdapter(list[kind]).validate_python(entries)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f", {part}" for part in first["loc"])
        raise ConfigError(f"{name}{where}: {problem_text(first['msg'])}") from error


def yaml_text(content: Any) -> str:
    """Return a YAML file's text that `read_yaml` reads as `content`, with `words` or without."""
    return yaml.dump(content, Dumper=_Lines, allow_unicode=True, sort_keys=False)


def problem_text(message: str) -> str:
    """Return pydantic's message without the prefix that it puts before our validators' words."""
    return message.removeprefix("Value error, ")


def _first_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: write it as key.sub=value")
    try:
        value = yaml.load(text, _Once)
    except _TwiceError as error:
        raise ConfigError(f"--set {key}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value is not YAML: {_first_problem(error)}") from error
    *groups, last = key.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {group} is not a group of settings")
        values = inner
    values[last] = value


def _explain(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    where, group = _locate(kind, [str(part) for part in problem["loc"]])
    name = ".".join(where)
    if problem["type"] == "missing":
        return f"the setting {name} is missing"
    if problem["type"] != "extra_forbidden":
        return (f"{name}: " if name else "") + problem_text(problem["msg"])
    known = list(group.model_fields)
    nearest = difflib.get_close_matches(where[-1], known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return f"unknown setting {name}; {hint}"


def _locate(kind: type[BaseModel], location: list[str]) -> tuple[list[str], type[BaseModel]]:
    """Return a location as a user writes it, and the group of settings it lies in.

    pydantic puts the chosen member of a tagged union into the location; a file does not.
    """
    where, groups = [], [kind]
    for part in location:
        chosen = [group for group in groups if _has_tag(group, part)]
        if len(groups) > 1 and chosen:
            groups = chosen
            continue
        where.append(part)
        field = groups[0].model_fields.get(part)
        groups = (_groups_in(field.annotation) if field else []) or groups
    return where, groups[0]


def _has_tag(group: type[BaseModel], tag: str) -> bool:
    return any(tag in get_args(field.annotation) for field in group.model_fields.values())


def _groups_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [group for inner in get_args(annotation) for group in _groups_in(inner)]
