"""Description, total -> Advance, which draws a progress bar, or lines without a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

QUIET_SECONDS = 10.0  # between lines without a terminal


class Advance(Protocol):
    def __call__(self, amount: float, note: str = "") -> None: ...


@contextmanager
def progress(what: str, total: float, done: float = 0) -> Iterator[Advance]:
    """Show progress from `done` to `total`; the function yielded adds an amount of work."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, total, done)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total, completed=int(done), note="")

        def advance(amount: float, note: str = "") -> None:
            bar.update(task, advance=amount, note=note)

        yield advance


def _lines(what: str, total: float, done: float) -> Advance:
    started = last = time.monotonic()
    current, first = done, done

    def advance(amount: float, note: str = "") -> None:
        nonlocal current, last
        current += amount
        now = time.monotonic()
        if now - last < QUIET_SECONDS and current < total:
            return
        last = now
        left = (now - started) / max(current - first, 1e-9) * (total - current)
        line = f"{what}: {current:g} of {total:g}, {left:.0f} s left  {note}"
        print(line.rstrip(), file=sys.stderr, flush=True)

    return advance
