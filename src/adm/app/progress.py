"""Description, total, unit -> Advance that draws a bar, or prints lines without a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from adm.app.notices import notice, quiet
from adm.progress import Advance, silent
from adm.shown import printable

LINE_SECONDS = 10.0  # between lines without a terminal
SPEED_SECONDS = 1800.0  # over which the speed is measured; a step may take minutes


class _Clock:
    """Seconds of work, without those of other work that is shown while it waits."""

    def __init__(self, console: Console) -> None:
        self.console, self.away = console, 0.0
        self.read: Callable[[], float] = console.get_time

    def __call__(self) -> float:
        return self.read() - self.away

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it in the block."""
        now = self.console.get_time()
        self.read = lambda: now
        try:
            yield
        finally:
            self.away += self.console.get_time() - now
            self.read = self.console.get_time


_open: ContextVar[_Clock | None] = ContextVar("_open", default=None)  # that of the innermost work


@contextmanager
def progress(what: str, total: float, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show progress from `done` to `total`; the function yielded adds an amount of work.

    The first amount, a first step or what an earlier process has done, says where the speed is
    measured from. Work shown within other work, such as the validation of a training, has a bar of
    its own below while it lasts; its seconds do not count for the other's speed.

    Args:
        unit: of the amounts, in the plural, such as images.
    """
    if quiet():
        yield lambda amount, note="": None
        return
    outer = _open.get()
    console = outer.console if outer else Console(file=sys.stderr)
    if console.is_jupyter:  # which displays no stream
        console = Console()
    clock = _Clock(console)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        speed_estimate_period=SPEED_SECONDS,
        transient=outer is not None,
        get_time=clock,
        disable=not (console.is_terminal or console.is_jupyter),
    )
    with outer.stopped() if outer else nullcontext(), bar:
        task = bar.add_task(printable(what), total=total, completed=int(done), unit=unit, note="")
        printed = bar.get_time()

        def advance(amount: float, note: str = "") -> None:
            nonlocal printed
            bar.update(task, advance=amount, note=printable(note))
            state, now = bar.tasks[0], bar.get_time()
            last = state.finished and outer is None
            if not bar.disable or (now - printed < LINE_SECONDS and not last):
                return
            printed, left = now, state.time_remaining
            time = "" if left is None else f", {timedelta(seconds=left)} left"
            count = f"{state.completed:,.0f} of {total:,.0f} {unit}{time}"
            notice(f"{what}: {count}  {note}".rstrip())

        _open.set(clock)
        try:
            yield advance
        finally:
            _open.set(outer)


def watched(what: str, total: float, unit: str, done: float = 0) -> AbstractContextManager[Advance]:
    """Show progress as `progress` does, if a terminal or a notebook displays it."""
    console = Console(stderr=True)
    display = progress if console.is_terminal or console.is_jupyter else silent
    return display(what, total, unit, done)
