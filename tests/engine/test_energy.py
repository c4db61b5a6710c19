"""The energy of GPUs, by a driver in the place of NVIDIA's."""

import pytest

from medsent.engine import energy
from medsent.engine.energy import EnergyMeter


class Driver:
    """NVML, as far as it is asked; a GPU is the number or the id by which it is known."""

    class NVMLError(Exception):
        """As NVML raises."""

    def __init__(self, **totals: int) -> None:
        self.totals = totals

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.totals:
            raise self.NVMLError("no driver")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"gpu{index}"

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:  # noqa: N802
        return name

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if handle not in self.totals:
            raise self.NVMLError("not supported")
        return self.totals[handle]


def test_the_energy_of_all_of_an_actors_gpus_since_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver(gpu0=5_000, gpu1=1_000, gpu2=7)
    monkeypatch.setattr(energy, "pynvml", driver)
    meter = EnergyMeter([0, "1"])
    assert meter.joules() == 0.0
    driver.totals |= {"gpu0": 6_500, "gpu1": 1_250, "gpu2": 900_000}
    assert meter.joules() == 1.75
    driver.totals["gpu0"] = 0  # the driver was loaded again
    assert meter.joules() is None


def test_a_gpu_may_be_known_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(**{"GPU-1a": 1_000})
    monkeypatch.setattr(energy, "pynvml", driver)
    meter = EnergyMeter(["GPU-1a"])
    driver.totals["GPU-1a"] = 3_000
    assert meter.joules() == 2.0


@pytest.mark.parametrize(
    ("driver", "gpus"),
    [(None, [0]), (Driver(), [0]), (Driver(gpu1=1), [0]), (Driver(gpu0=1), [])],
)
def test_what_cannot_be_measured_is_nothing(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, gpus: list[int]
) -> None:
    """Without the package, the driver, the counter, or any GPU."""
    monkeypatch.setattr(energy, "pynvml", driver)
    assert EnergyMeter(gpus).joules() is None
