"""Function, arguments -> results in order, computed in several threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
CHUNKS = 4  # per thread, so that a thread with small files does not wait for one with large files
AHEAD = 16  # arguments per thread in progress


def thread_count() -> int:
    """The processors available, divided by the number of local ranks."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return max(1, processors // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def in_threads(function: Callable[[A], B], arguments: list[A]) -> list[B]:
    """As list(map(function, arguments)), in threads; raises the first exception in order."""
    threads = thread_count()
    if threads == 1 or len(arguments) < 2:
        return list(map(function, arguments))
    size = -(-len(arguments) // (CHUNKS * threads))
    chunks = [arguments[i : i + size] for i in range(0, len(arguments), size)]
    waiting = [_pool().submit(lambda part: list(map(function, part)), chunk) for chunk in chunks]
    return [value for future in waiting for value in future.result()]


def streamed(function: Callable[[A], B], arguments: Iterable[A]) -> Iterator[B]:
    """As map(function, arguments), in threads that work ahead of the caller."""
    remaining = iter(arguments)
    waiting: deque[Future[B]] = deque()
    try:
        while True:
            for argument in islice(remaining, AHEAD * thread_count() - len(waiting)):
                waiting.append(_pool().submit(function, argument))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count(), thread_name_prefix="decode")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork, so the child needs a new pool
    os.register_at_fork(after_in_child=_pool.cache_clear)
