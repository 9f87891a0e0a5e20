"""Description, total, unit -> Advance, which draws a progress bar, or lines without a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from adm.app.notices import notice, quiet
from adm.cached import Cached
from adm.shown import printable

QUIET_SECONDS = 10.0  # between lines without a terminal


class Advance(Protocol):
    def __call__(self, amount: float, note: str = "") -> None: ...


class Work:
    """Work to be done, and the time that the rest will take at the speed until now.

    Only work of this process sets the speed: neither `done`, nor cached work, nor the time spent on
    reading it.
    """

    def __init__(
        self, total: float, done: float = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.done, self._clock = total, done, clock
        self._fresh, self._seconds, self._last = 0.0, 0.0, clock()

    def add(self, amount: float) -> None:
        """Add an amount of work that was done since the last call, or earlier (`Cached`)."""
        now = self._clock()
        if not isinstance(amount, Cached):
            self._fresh += amount
            self._seconds += now - self._last
        self.done, self._last = self.done + amount, now

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take; None before any work of this process."""
        if not self._fresh:
            return None
        return self._seconds / self._fresh * max(0.0, self.total - self.done)

    def __str__(self) -> str:
        return f"{self.done:,.0f} of {self.total:,.0f}"


@contextmanager
def progress(what: str, total: float, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show progress from `done` to `total`; the function yielded adds an amount of work.

    Args:
        unit: of the amounts, in the plural, such as images.
    """
    # A bar replaces standard error while it is shown, so it receives the stream beneath.
    stream = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
    console, work = Console(file=stream), Work(total, done, time.monotonic)
    if console.is_jupyter:  # which displays no stream
        console = Console()
    what = printable(what)
    if quiet():
        yield lambda amount, note="": None
        return
    if not (console.is_terminal or console.is_jupyter):
        yield _lines(what, unit, work)
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
            what, total=total, completed=int(done), count=f"{work} {unit}", left="", note=""
        )

        def advance(amount: float, note: str = "") -> None:
            work.add(amount)
            count, left = f"{work} {unit}", _left(work)
            bar.update(task, completed=work.done, count=count, left=left, note=printable(note))

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


def _lines(what: str, unit: str, work: Work) -> Advance:
    last = time.monotonic()

    def advance(amount: float, note: str = "") -> None:
        nonlocal last
        work.add(amount)
        now = time.monotonic()
        if now - last < QUIET_SECONDS and work.done < work.total:
            return
        last = now
        amounts = ", ".join(filter(None, (f"{work} {unit}", _left(work))))
        notice(f"{what}: {amounts}  {note}".rstrip())

    return advance


def _left(work: Work) -> str:
    return "" if work.left is None else f"{timedelta(seconds=round(work.left))} left"
