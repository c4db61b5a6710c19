"""The runs that most tests of the report look at."""

import pytest

from medsent.metrics.model import Metrics
from tests.report.sample import metrics


@pytest.fixture(scope="session")
def run() -> Metrics:
    """A run that compares two variants."""
    return metrics()


@pytest.fixture(scope="session")
def alone() -> Metrics:
    """The same run, with nothing compared."""
    return metrics(compare=())
