"""medsent: emotion labels for medical opinions, scored at any size on Ray and vLLM.

As a library: `load_config` reads a job, `make_plan` settles and checks it, `evaluate` scores it
and writes its report, `read_predictions` and `read_metrics` read what a run holds. Errors are
`MedsentError`. These functions report their progress to the logger `medsent`, which prints nothing
unless the caller sets up logging.
"""

import logging
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medsent.commands.compare import compare_runs
    from medsent.commands.evaluate import evaluate, rewrite_report
    from medsent.commands.repeat import evaluate_repeatedly
    from medsent.config.job import JobConfig, load_config
    from medsent.errors import MedsentError
    from medsent.metrics.model import Metrics, read_metrics
    from medsent.predictions.parquet import read_predictions
    from medsent.scoring.plan import Plan, make_plan

try:
    __version__ = version("medsent")
except PackageNotFoundError:  # a working_dir sent to a cluster, not installed there
    __version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    "JobConfig": "config.job",
    "MedsentError": "errors",
    "Metrics": "metrics.model",
    "Plan": "scoring.plan",
    "compare_runs": "commands.compare",
    "evaluate": "commands.evaluate",
    "evaluate_repeatedly": "commands.repeat",
    "load_config": "config.job",
    "make_plan": "scoring.plan",
    "read_metrics": "metrics.model",
    "read_predictions": "predictions.parquet",
    "rewrite_report": "commands.evaluate",
}

__all__ = [
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


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: some bring torch and ray with them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
