"""The schemas of what `cluster/` holds, made strict: an unknown key is an error."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

_CRDS = Path(__file__).parent / "crds"
_KUBERNETES = "1.37"
"""The newest that the package knows; what is used here is years older."""


def problem(manifest: dict[str, Any]) -> str | None:
    """Return what is wrong with a manifest first of all, with its place; None if nothing is."""
    if manifest["apiVersion"] == "ray.io/v1":
        return _problem_of_ray(manifest)
    return _problem_of_kubernetes(manifest)


def _problem_of_ray(manifest: dict[str, Any]) -> str | None:
    error = best_match(_validator(manifest["kind"]).iter_errors(manifest))
    if error is not None:
        return _said(error)
    # A definition leaves `metadata` open; it is the same for all kinds.
    bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}
    return _problem_of_kubernetes(bare)


def _problem_of_kubernetes(manifest: dict[str, Any]) -> str | None:
    try:
        kubernetes_validate.validate(manifest, _KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return _said(error)
    return None


def _said(error: ValidationError) -> str:
    return f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"


@cache
def _validator(kind: str) -> Draft202012Validator:
    text = (_CRDS / f"ray.io_{kind.lower()}s.yaml").read_text(encoding="utf-8")
    definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    [version] = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
    return Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that refuses keys which it does not name, wherever it names some."""
    schema = copy.copy(schema)
    if "properties" in schema:
        schema["properties"] = {k: strict(inner) for k, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = strict(schema[key])
    return schema
