"""`medsent demo`: prepare the embedded model and data, then evaluate the demo's job."""

import logging
from pathlib import Path

from medsent.commands.evaluate import evaluate
from medsent.config.job import JobConfig
from medsent.config.loader import load_settings
from medsent.demo.baselines import best_reachable
from medsent.demo.data import write_split
from medsent.errors import ConfigError
from medsent.models.source import prepare_builtin
from medsent.storage.paths import AnyPath

logger = logging.getLogger(__name__)

DATA = Path("data/demo")


def demo(config: Path, overrides: list[str] | None) -> AnyPath:
    """Run the demo from the project's folder; return the report's path.

    Beside the model's macro F1 it tells the best that any model could reach.
    """
    if not config.is_file():
        raise ConfigError(f"there is no {config} here; run the demo from the project's folder")
    settings = load_settings(JobConfig, config, overrides)
    prepare_builtin()
    logger.info(
        f"Synthetic test data in {write_split('test', DATA)} (made by a program, from no patient)."
    )
    report = evaluate(settings)
    shard = Path(settings.input.path)
    if shard.is_file() and shard.resolve().is_relative_to(DATA.resolve()):
        reachable = best_reachable(DATA, shard)
        logger.info(f"  best reachable macro F1 here (the label process is known): {reachable:.3f}")
    return report
