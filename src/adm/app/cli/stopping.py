"""Signals that end a process -> Stopped, raised through the program, which cleans up."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows lacks the last
PATIENCE_S = 10.0  # while cleaning up, in which further signals do not count
AGAIN_S = 0.05  # until a signal that Python ignored arrives again


class Stopped(KeyboardInterrupt):
    """Raised where the program is when a signal arrives."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number))
        self.number = number


@contextmanager
def stoppable(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Raise `Stopped` on SIGINT, SIGTERM and SIGHUP, so that temporary files and locks are removed.

    A second signal does not interrupt the cleaning, unless that takes longer than `PATIENCE_S`.
    Ranks that a launcher has started are left to it: while they wait for each other, only the
    system can end them.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        yield
        return
    process, arrived = os.getpid(), list[tuple[float, Stopped]]()

    def stop(number: int, frame: object) -> None:
        if os.getpid() != process:  # a child that was forked ends as it would have without this
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
        elif not arrived or clock() - arrived[0][0] > PATIENCE_S:
            arrived.append((clock(), Stopped(number)))
            raise arrived[-1][1]

    # Python prints and drops what is raised in a weak reference's callback or a finalizer.
    def ignored(dropped: "sys.UnraisableHookArgs") -> None:
        if arrived and dropped.exc_value is arrived[0][1]:
            number = arrived.pop(0)[1].number
            threading.Timer(AGAIN_S, os.kill, (process, number)).start()
        else:
            hook(dropped)

    hook, sys.unraisablehook = sys.unraisablehook, ignored
    try:
        with handling(stop) as before:
            yield
    except Exception as error:  # of code that the signal has interrupted where it cannot be
        if arrived:
            raise arrived[0][1] from error
        raise
    finally:
        sys.unraisablehook = hook


@contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[dict[int, Any]]:
    """Handle SIGINT, SIGTERM and SIGHUP by a function; yield the handlers that it replaces.

    A signal that is ignored stays ignored, as SIGHUP under nohup. In a thread nothing is handled:
    Python has signals in the main thread only.
    """
    before = dict[int, Any]()
    in_main = threading.current_thread() is threading.main_thread()
    for number in (getattr(signal, name) for name in NAMES if in_main and hasattr(signal, name)):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def status(stop: KeyboardInterrupt) -> int:
    """Return the exit status of a process that a signal has stopped."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
