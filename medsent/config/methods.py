"""The names of the answer methods: those of the modules in `medsent.answers.methods`."""

import pkgutil
from importlib.util import find_spec
from typing import Annotated, Final

from pydantic import AfterValidator

MODULES: Final = "medsent.answers.methods"


def known_methods() -> tuple[str, ...]:
    """Return the names, in the order of the alphabet; no module of a method is imported."""
    package = find_spec(MODULES)
    folders = package.submodule_search_locations if package else None
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folders or [])))


def _known(name: str) -> str:
    known = known_methods()
    if name not in known:
        *others, last = map(repr, known)
        raise ValueError(f"Input should be {', '.join(others)} or {last}")
    return name


MethodName = Annotated[str, AfterValidator(_known)]
