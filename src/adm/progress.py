"""Description, total, unit -> Advance: the progress of long work, for whoever displays it.

The library reports its progress here and shows nothing. An application displays it by `display`, as
the command line does; the functions of `adm` itself are displayed in a terminal or a notebook.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias


class Advance(Protocol):
    """Adds an amount of work; what an earlier process has done is one amount at the start."""

    def __call__(self, amount: float, note: str = "") -> None: ...


# Description, total, unit in the plural, amount already done.
Display: TypeAlias = Callable[[str, float, str, float], AbstractContextManager[Advance]]


@contextmanager
def silent(what: str, total: float, unit: str, done: float = 0) -> Iterator[Advance]:
    """Display nothing."""
    yield lambda amount, note="": None


_display: Display = silent


def is_silent() -> bool:
    """Return whether no function displays progress."""
    return _display is silent


def display(by: Display) -> None:
    """Display the progress of all later work by a function; `silent` displays none."""
    global _display
    _display = by


@contextmanager
def displayed(by: Display) -> Iterator[None]:
    """Display progress in the block by a function, and afterwards as before."""
    before = _display
    display(by)
    try:
        yield
    finally:
        display(before)


def progress(
    what: str, total: float, unit: str, done: float = 0, *, shown: bool = True
) -> AbstractContextManager[Advance]:
    """Open the progress of work: what is done, in units, of a total, from `done` on.

    Args:
        shown: whether it may be displayed, as that of the main rank is.
    """
    return (_display if shown else silent)(what, total, unit, done)
