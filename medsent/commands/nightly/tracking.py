"""MLflow as one more place for a night's figures and reports; its package is an extra."""

import json
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from medsent.commands.nightly.gate import Gate
from medsent.commands.nightly.page import PAGE
from medsent.commands.nightly.settings import NightlyConfig
from medsent.errors import ConfigError, place_of
from medsent.metrics.estimate import Estimate
from medsent.metrics.model import Metrics, read_metrics
from medsent.runs.folder import RunFolder

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_RUN: Final = "medsent.run"
"""The tag that finds a night again."""
_FILES: Final = (PAGE, "report.html", "report.md", "gate.json", "metrics.json", "manifest.json")
_MOST_PARAMETERS: Final = 100  # MLflow takes no more in one request
_MOST_METRICS: Final = 1000
_LONGEST: Final = 500
"""Characters of a parameter's value; older servers take no more."""


class Tracker:
    """A tracking server."""

    def __init__(self, uri: str) -> None:
        """Raises `ConfigError` where the package is missing, or the address cannot be used."""
        # Its own seven tries, each later than the last, take minutes where there is no server.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise ConfigError(
                "--mlflow needs the package of that name: pip install 'medsent[mlflow]'"
            ) from error
        try:
            self._client: MlflowClient = MlflowClient(tracking_uri=uri)
        except Exception:  # noqa: BLE001 - whatever it raises quotes the address, and a password in it
            raise ConfigError(
                "--mlflow: this address cannot be used; give http://host:port or https://host"
            ) from None

    def log(self, config: NightlyConfig, gate: Gate, run: RunFolder) -> None:
        """Log a night in the place of what was logged of it before; a failure is only said."""
        try:
            self._log(config, gate, run)
        except Exception as error:  # noqa: BLE001
            # Whatever MLflow and its HTTP client raise: the night itself is safe. Their messages
            # may hold the address, which may hold a password.
            logger.warning(
                f"MLflow did not take this night ({place_of(error)}); the same command tries again."
            )

    def _log(self, config: NightlyConfig, gate: Gate, run: RunFolder) -> None:
        client, metrics = self._client, read_metrics(run.path / "metrics.json")
        experiment = _experiment(client, config.name)
        for old in client.search_runs([experiment], f"tags.`{_RUN}` = '{run.path.name}'"):
            client.delete_run(old.info.run_id)
        tags = {_RUN: run.path.name, "medsent.night": str(gate.night), "medsent.gate": gate.status}
        made = client.create_run(experiment, run_name=run.path.name, tags=tags).info
        _log_parameters(client, made.run_id, config, run)
        _log_metrics(client, made.run_id, made.start_time, metrics)
        for name in _FILES:
            client.log_text(made.run_id, (run.path / name).read_text(encoding="utf-8"), name)
        client.set_terminated(made.run_id, "FINISHED" if gate.status == "open" else "FAILED")


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _log_parameters(
    client: "MlflowClient", run_id: str, config: NightlyConfig, run: RunFolder
) -> None:
    from mlflow.entities import Param

    # What follows a night is no parameter of it, and a hook's address may hold a secret.
    values = config.model_dump(mode="json", exclude={"notify", "retention", "night"})
    flat = {"fingerprint": run.fingerprint, **dict(_flat(values))}
    parameters = [Param(name, value[:_LONGEST]) for name, value in flat.items()]
    for first in range(0, len(parameters), _MOST_PARAMETERS):
        client.log_batch(run_id, params=parameters[first : first + _MOST_PARAMETERS])


def _log_metrics(client: "MlflowClient", run_id: str, at_ms: int, metrics: Metrics) -> None:
    from mlflow.entities import Metric

    found = [Metric(name, value, at_ms, 0) for name, value in _figures(metrics)]
    for first in range(0, len(found), _MOST_METRICS):
        client.log_batch(run_id, metrics=found[first : first + _MOST_METRICS])


def _figures(metrics: Metrics) -> Iterator[tuple[str, float]]:
    """Yield `<variant>/<figure>` and `<variant>/<label>/<figure>`, ends of intervals as well."""
    yield "records/input", metrics.records.input
    yield "records/quarantined", metrics.records.quarantined
    for name, variant in metrics.variants.items():
        yield from _estimates(name, dict(variant.overall))
        for label, figures in variant.labels.items():
            yield from _estimates(f"{name}/{label}", dict(figures))
        speed = variant.throughput
        if speed is not None and speed.records_per_s is not None:
            yield f"{name}/records_per_s", speed.records_per_s
        if variant.cost is not None:
            spent = variant.cost.money_per_million_records.value
            yield f"{name}/money_per_million_records", spent


def _estimates(name: str, values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for figure, estimate in values.items():
        if isinstance(estimate, Estimate):
            yield f"{name}/{figure}", estimate.value
            if estimate.low is not None and estimate.high is not None:
                yield f"{name}/{figure}_low", estimate.low
                yield f"{name}/{figure}_high", estimate.high


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
