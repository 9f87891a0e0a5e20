"""Description, total, unit -> Advance that draws a bar, or prints lines without a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from adm.app.notices import notice, quiet
from adm.progress import Advance
from adm.shown import printable

LINE_SECONDS = 10.0  # between lines without a terminal
SPEED_SECONDS = 1800.0  # over which the speed is measured; a step may take minutes


@contextmanager
def progress(what: str, total: float, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show progress from `done` to `total`; the function yielded adds an amount of work.

    The first amount, a first step or what an earlier process has done, says where the speed is
    measured from.

    Args:
        unit: of the amounts, in the plural, such as images.
    """
    console = Console(file=sys.stderr)
    if console.is_jupyter:  # which displays no stream
        console = Console()
    if quiet():
        yield lambda amount, note="": None
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        speed_estimate_period=SPEED_SECONDS,
        disable=not (console.is_terminal or console.is_jupyter),
    )
    with bar:
        task = bar.add_task(printable(what), total=total, completed=int(done), unit=unit, note="")
        printed = bar.get_time()

        def advance(amount: float, note: str = "") -> None:
            nonlocal printed
            bar.update(task, advance=amount, note=printable(note))
            state, now = bar.tasks[0], bar.get_time()
            if not bar.disable or (now - printed < LINE_SECONDS and not state.finished):
                return
            printed, left = now, state.time_remaining
            time = "" if left is None else f", {timedelta(seconds=left)} left"
            count = f"{state.completed:,.0f} of {total:,.0f} {unit}{time}"
            notice(f"{what}: {count}  {note}".rstrip())

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
