"""a function, many arguments -> its values in order, several at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
CHUNKS = 4  # a thread, so that one with small files does not wait for one with large files
AHEAD = 16  # arguments a thread that are under way


def thread_count() -> int:
    """The processors open to this process, shared among the processes launched on this machine."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return max(1, processors // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def in_threads(function: Callable[[A], B], arguments: list[A]) -> list[B]:
    """As list(map(function, arguments)): the first exception in order is raised."""
    threads = thread_count()
    if threads == 1 or len(arguments) < 2:
        return list(map(function, arguments))
    size = -(-len(arguments) // (CHUNKS * threads))
    chunks = [arguments[i : i + size] for i in range(0, len(arguments), size)]
    waiting = [_pool().submit(lambda part: list(map(function, part)), chunk) for chunk in chunks]
    return [value for future in waiting for value in future.result()]


def streamed(function: Callable[[A], B], arguments: Iterable[A]) -> Iterator[B]:
    """As map(function, arguments), with a few under way ahead of the caller."""
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


if hasattr(os, "register_at_fork"):  # threads do not survive a fork, and the pool would wait
    os.register_at_fork(after_in_child=_pool.cache_clear)
