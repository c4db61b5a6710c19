"""Reading a YAML file of settings: unknown keys are errors that name the nearest known one."""

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medsent.errors import ConfigError


class Settings(BaseModel):
    """Base of every group of settings: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S], path: str | Path, overrides: list[str] | None = None) -> S:
    """Read `path` as `kind`, with `key.sub=YAML value` overrides applied.

    Raises `ConfigError` that names the file, the setting, and what would be right.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of settings, like jobs/demo.yaml")
    for override in overrides or []:
        _apply(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = [_explain(kind, dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: write it as key.sub=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value is not YAML: {error}") from error
    *groups, last = key.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {group} is not a group of settings")
        values = inner
    values[last] = value


def _explain(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    where = [str(part) for part in problem["loc"]]
    name = ".".join(where)
    if problem["type"] == "missing":
        return f"the setting {name} is missing"
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']}"
    known = list(_group(kind, where[:-1]).model_fields)
    nearest = difflib.get_close_matches(where[-1], known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return f"unknown setting {name}; {hint}"


def _group(kind: type[BaseModel], where: list[str]) -> type[BaseModel]:
    """Follow a location through fields (and the values of mappings) to its group."""
    for part in where:
        field = kind.model_fields.get(part)
        if field is None:
            continue
        inner = _settings_in(field.annotation)
        if inner is not None:
            kind = inner
    return kind


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_settings_in, get_args(annotation))), None)
