"""Secrets among the options of a library: refused, since a run keeps them where others read."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_OF_MODELS: Final = "pad|eos|bos|unk|image|audio|video|boi|eoi|mask|sep|cls"
"""What stands before `_token` in the names of a model's own tokens, which are no secrets."""
_VARIABLES: Final = {
    r"(^|_)aws(_|$)|access_key|session_token": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    r"api_?key": "VLLM_API_KEY",
    rf"^(?!({_OF_MODELS})_token$)(\w*_)?token$|secret|passw|credential": "HF_TOKEN",
}
"""Pattern of a name to the environment variable that a secret of that name belongs in."""
_HUB_TOKEN: Final = re.compile(r"hf_[A-Za-z0-9]{16,}")
_AWS_KEY: Final = re.compile(r"AKIA[A-Z0-9]{16}")
_SIGNED_IN: Final = re.compile(r"\w+://[^/\s]*:[^/\s]*@")
"""An address with a name and a password in it."""


def refuse_secrets(options: Mapping[str, object]) -> None:
    """Raise `ValueError` where an option, or one within it, is a secret by its name or its looks.

    The message does not hold the secret.
    """
    for where, key, text in _texts(options):
        if variable := _variable(key, text):
            raise ValueError(
                f"{where} holds a secret, and a run keeps its settings where others may read "
                f"them; take it out, and set {variable} in the environment"
            )


def _texts(value: object, key: str = "", where: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield each text within a value: where it stands, the key that it is of, and itself."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, str(name), f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _texts(inner, key, f"{where}.{place}")
    elif isinstance(value, str) and value.strip():
        yield where, key, value


def _variable(key: str, value: str) -> str | None:
    """Return the environment variable that a value belongs in; None where it is no secret."""
    if _HUB_TOKEN.search(value):
        return "HF_TOKEN"
    if _AWS_KEY.search(value):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if _SIGNED_IN.match(value):
        return "the variable that its library reads the password from"
    return next((v for pattern, v in _VARIABLES.items() if re.search(pattern, key.lower())), None)
