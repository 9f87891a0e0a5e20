"""Signals -> Stop, which a run asks after every step, to save and exit."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from adm.app.notices import notice

HANG_UP = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has none


class Stop:
    """Whether a signal has asked the run to save and exit."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None


@contextmanager
def saving() -> Iterator[Stop]:
    """Save and exit after the current step on SIGTERM, SIGHUP or Ctrl-C; a second Ctrl-C stops.

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
