"""An S3 server for the session, a bucket for a test, and the environment that leads there."""

import itertools
from collections.abc import Iterator

import pytest

from tests.storage.server import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server.start(tmp_path_factory.mktemp("s3") / "server.log")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def reached(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process can reach the server too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        patch.setenv("MEDSENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty bucket that this process can reach."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(_numbers)}"
    server.make_bucket(name)
    return name


@pytest.fixture
def strict(server: Server, bucket: str) -> Iterator[None]:
    """For so long the server looks at keys."""
    with server.strict():
        yield
