"""A lease in object storage: one job holds it, and a dead one's expires."""

import time

import pytest

from medsent.errors import LeaseError
from medsent.storage.lease import Lease
from medsent.storage.paths import any_path, located

pytestmark = pytest.mark.slow


def lease(bucket: str) -> Lease:
    where = located(any_path(f"s3://{bucket}/runs/one/lease"))
    return Lease(*where, beat_s=0.5, expiry_s=4.0)


def test_one_job_holds_it(bucket: str) -> None:
    folder = any_path(f"s3://{bucket}/runs/one/lease")
    with lease(bucket) as held:
        time.sleep(1.5)  # some beats
        with pytest.raises(LeaseError, match=r"runs/one is held by another job: process \d+"):
            lease(bucket).__enter__()
        assert not held.lost.is_set()
        assert len(list(folder.glob("*.json"))) == 1
    assert list(folder.glob("*.json")) == []
    with lease(bucket):
        pass


def test_a_dead_job_of_another_host_loses_it(bucket: str, said: list[str]) -> None:
    folder = any_path(f"s3://{bucket}/runs/one/lease")
    with lease(bucket):
        [file] = folder.glob("*.json")
        left = file.read_text()
    stranger = left.replace('"boot_id":"', '"boot_id":"other')
    assert stranger != left
    (folder / file.name).write_bytes(stranger.encode())
    said.clear()
    with lease(bucket):
        pass
    assert said[-1].startswith(f"Taking over s3://{bucket}/runs/one from process")
