"""Secrets among the options of a library: refused, since a run keeps them where others read."""

import re
from collections.abc import Mapping
from typing import Final

_VARIABLES: Final = {
    r"aws|access_key|session_token": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    r"api_?key": "VLLM_API_KEY",
    r"^(\w*_)?token$|secret|passw|credential": "HF_TOKEN",
}
"""Pattern of a name to the environment variable that a secret of that name belongs in."""
_HUB_TOKEN: Final = re.compile(r"hf_[A-Za-z0-9]{16,}")
_AWS_KEY: Final = re.compile(r"AKIA[A-Z0-9]{16}")
_SIGNED_IN: Final = re.compile(r"\w+://[^/\s]*:[^/\s]*@")
"""An address with a name and a password in it."""


def refuse_secrets(options: Mapping[str, object], within: str = "") -> None:
    """Raise `ValueError` where an option, or one within it, is a secret by its name or its looks.

    The message does not hold the secret.
    """
    for key, value in options.items():
        where = f"{within}{key}"
        if isinstance(value, Mapping):
            refuse_secrets(value, f"{where}.")
        elif isinstance(value, str) and (variable := _variable(str(key), value)):
            raise ValueError(
                f"{where} holds a secret, and a run keeps its settings where others may read "
                f"them; take it out, and set {variable} in the environment"
            )


def _variable(key: str, value: str) -> str | None:
    """Return the environment variable that a value belongs in; None where it is no secret."""
    if _HUB_TOKEN.search(value):
        return "HF_TOKEN"
    if _AWS_KEY.search(value):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if _SIGNED_IN.match(value):
        return "the variable that its library reads the password from"
    return next((v for pattern, v in _VARIABLES.items() if re.search(pattern, key.lower())), None)
