"""Work that threads begin before its results are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_turn(
    threads: Executor, work: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    """Yield the result of `work` for each item, in order; about `ahead` are begun in advance."""
    coming: deque[Future[R]] = deque()
    for item in items:
        coming.append(threads.submit(work, item))
        if len(coming) > ahead:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()
