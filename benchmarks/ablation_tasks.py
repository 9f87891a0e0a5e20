"""Tasks -> processes, some at a time, which stop when the command does."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple, TypeAlias

POLL_S = 2.0
Stop: TypeAlias = Callable[[], bool]


class Stopped(Exception):
    """Raised in a task that was asked to stop."""


def check(stop: Stop) -> None:
    """Raise `Stopped` if a task was asked to stop."""
    if stop():
        raise Stopped


class Task(NamedTuple):
    """A call to make in a process of its own.

    Attributes:
        name: for messages.
        call: a function of a module, whose last argument is a `Stop`, which it calls often.
        arguments: the others.
    """

    name: str
    call: Callable[..., None]
    arguments: tuple[Any, ...]


def running(tasks: Sequence[Task], workers: int) -> Iterator[list[str]]:
    """Run tasks in new processes; yield every `POLL_S` the names of those that are running.

    When the iterator ends for any reason, the processes have been asked to stop, and have ended.
    They stop by themselves if this process is killed.

    Raises:
        RuntimeError: a task failed, or its process was killed.
    """
    context, begun = multiprocessing.get_context("spawn"), dict[SpawnProcess, Task]()
    stopping, waiting = context.Event(), [*tasks]
    try:
        while waiting or begun:
            while waiting and len(begun) < workers:
                task = waiting.pop(0)
                process = context.Process(target=_run, args=(task, stopping, os.getpid()))
                process.start()
                begun[process] = task
            wait([process.sentinel for process in begun], POLL_S)
            for process in [each for each in begun if not each.is_alive()]:
                task = begun.pop(process)
                if process.exitcode:
                    raise RuntimeError(f"{task.name} failed; the same command continues")
            yield [task.name for task in begun.values()]
    finally:
        stopping.set()
        for process in begun:
            process.join()


def _run(task: Task, stopping: Event, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent sets the event
    with suppress(Stopped):
        task.call(*task.arguments, lambda: stopping.is_set() or os.getppid() != parent)
