"""Signals -> Stop, which a run asks after every step; output that may end before the run does."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from adm.notices import notice

HANG_UP = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has none


class Stop:
    """Whether a signal has asked the run to save and exit."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Stop after the current step on SIGTERM, SIGHUP or Ctrl-C; a second Ctrl-C does so at once.

    SIGHUP remains ignored if it is, as under nohup.
    """
    stop = Stop()

    def asked(number: int, frame: object) -> None:
        if stop.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number
        notice("\nsaving after this step, then exiting")

    numbers = [signal.SIGTERM, signal.SIGINT]
    if HANG_UP is not None and signal.getsignal(HANG_UP) != signal.SIG_IGN:
        numbers.append(HANG_UP)
    before = {number: signal.signal(number, asked) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def lasting() -> Iterator[None]:
    """Drop what is printed once the terminal or the pipe is gone, instead of failing."""
    with redirect_stdout(_Lasting(sys.stdout)), redirect_stderr(_Lasting(sys.stderr)):
        yield


class _Lasting:
    """A stream that leads to nowhere from its first error on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._tried(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, call: Callable[[], object]) -> None:
        try:
            call()
        except OSError:
            # What the stream still buffers would fail again, at the latest when Python exits.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
