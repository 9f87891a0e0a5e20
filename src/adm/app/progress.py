"""Description, total, unit -> Advance that draws a bar, or prints lines without a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from adm.app.notices import notice, quiet
from adm.progress import Advance
from adm.shown import printable

QUIET_SECONDS = 10.0  # between lines without a terminal


class Pace:
    """Work to be done, and the time that the rest will take at the speed until now.

    The first amount says where this process starts: what an earlier one has done, or a first step,
    which takes longer than others. It does not count for the speed.
    """

    def __init__(
        self, total: float, done: float = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.done, self._clock = total, done, clock
        self._start: tuple[float, float] | None = None  # the amount done, and the time
        self._seconds = 0.0  # since then

    def add(self, amount: float) -> None:
        """Add an amount of work that was done since the last call."""
        self.done += amount
        now = self._clock()
        self._start = self._start or (self.done, now)
        self._seconds = now - self._start[1]

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take; None before any work since the start."""
        made = self.done - self._start[0] if self._start else 0.0
        return self._seconds / made * max(0.0, self.total - self.done) if made else None

    def __str__(self) -> str:
        return f"{self.done:,.0f} of {self.total:,.0f}"


@contextmanager
def progress(what: str, total: float, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show progress from `done` to `total`; the function yielded adds an amount of work.

    Args:
        unit: of the amounts, in the plural, such as images.
    """
    console, pace = Console(file=sys.stderr), Pace(total, done, time.monotonic)
    if console.is_jupyter:  # which displays no stream
        console = Console()
    what = printable(what)
    if quiet():
        yield lambda amount, note="": None
        return
    if not (console.is_terminal or console.is_jupyter):
        yield _lines(what, unit, pace)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(
            what, total=total, completed=int(done), count=f"{pace} {unit}", left="", note=""
        )

        def advance(amount: float, note: str = "") -> None:
            pace.add(amount)
            count, left = f"{pace} {unit}", _left(pace)
            bar.update(task, completed=pace.done, count=count, left=left, note=printable(note))

        yield advance


@contextmanager
def watched(what: str, total: float, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show progress as `progress` does, if a terminal or a notebook displays it."""
    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        with progress(what, total, unit, done) as advance:
            yield advance
    else:
        yield lambda amount, note="": None


def _lines(what: str, unit: str, pace: Pace) -> Advance:
    last = time.monotonic()

    def advance(amount: float, note: str = "") -> None:
        nonlocal last
        pace.add(amount)
        now = time.monotonic()
        if now - last < QUIET_SECONDS and pace.done < pace.total:
            return
        last = now
        amounts = ", ".join(filter(None, (f"{pace} {unit}", _left(pace))))
        notice(f"{what}: {amounts}  {note}".rstrip())

    return advance


def _left(pace: Pace) -> str:
    return "" if pace.left is None else f"{timedelta(seconds=round(pace.left))} left"
