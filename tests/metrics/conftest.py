"""The runs that findings are about: those of the report."""

from tests.report.conftest import alone, run

__all__ = ["alone", "run"]
