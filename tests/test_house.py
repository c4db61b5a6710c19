"""Imports run one way: down the list of folders, without a circle, at the head of a file."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import medsent

PACKAGE = Path("medsent")
UPWARDS = (
    "errors",
    "console",
    "storage",
    "predictions",
    "config",
    "engine",
    "prompts",
    "answers",
    "models",
    "input",
    "runs",
    "reducer",
    "metrics",
    "scoring",
    "report",
    "commands",
    "demo",
    "cli",
    "__main__",
)
"""Each imports only from itself and from those before it."""
SPARING = {
    "medsent.cli": "`--help` in a moment: the commands import torch, ray and transformers",
    "medsent.commands.making": "the same",
    "medsent.commands.previews": "the same",
}
"""Modules that import our own within functions, and why."""


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the package, by its dotted name."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {_dotted(file): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def _dotted(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of ours that some code imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where a name is from"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else str(node.module) for name in whole]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "medsent")


def top(module: str) -> str:
    """Return the folder, or the file, at the top of the package that a module is in."""
    return [*module.split("."), ""][1]


def test_the_top_is_what_the_order_lists() -> None:
    assert {top(module) for module in modules()} - {""} == set(UPWARDS)


@pytest.mark.parametrize("folder", UPWARDS)
def test_imports_run_one_way(folder: str) -> None:
    below = {"", *UPWARDS[: UPWARDS.index(folder) + 1]}
    upwards = {
        module: above
        for module, tree in modules().items()
        if top(module) == folder
        and (above := sorted(name for name in imported(tree) if top(name) not in below))
    }
    assert upwards == {}


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        module: set(imported(tree)) - {module, "medsent"}  # which names all that is public
        for module, tree in modules().items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert len(order) >= len(graph)


def test_only_what_spares_a_heavy_import_imports_within_a_function() -> None:
    within = {
        module
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(imported(node))
    }
    assert within == set(SPARING)


def test_the_public_names() -> None:
    assert medsent.__all__ == [
        "JobConfig",
        "MedsentError",
        "Metrics",
        "Plan",
        "__version__",
        "compare_runs",
        "evaluate",
        "evaluate_repeatedly",
        "load_config",
        "make_plan",
        "read_metrics",
        "read_predictions",
        "rewrite_report",
    ]
    assert all(getattr(medsent, name).__doc__ for name in medsent.__all__ if name != "__version__")
    assert (PACKAGE / "py.typed").is_file()
