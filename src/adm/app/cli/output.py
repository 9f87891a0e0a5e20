"""Any, bool -> one JSON document, or text, on standard output; notices."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adm.app.notices import notice
from adm.shown import printable, printable_lines

WIDTH = 120  # characters of a line of a table in a file; on a terminal, its own
OUT = Parameter(name=("--out", "-o"))
AsJson = Annotated[
    bool, Parameter(name="--json", negative="", help="Print the result as one JSON document.")
]


def show(value: Callable[[], Any], as_json: bool, text: Callable[[], None]) -> None:
    """Print a result: as one JSON document, or by `text`.

    Args:
        value: returns the result as JSON values.
    """
    if as_json:
        print_json(value())
    else:
        text()


def table(
    rows: Iterable[Sequence[str | Text]],
    headings: Sequence[str] = (),
    title: str = "",
) -> None:
    """Print a table of literal text: rich would read [husky] and :dog: as markup.

    Args:
        headings: of the columns; one that starts with > is to the right.
    """
    above = Text(printable(title), style="table.title") if title else None
    grid = Table(title=above, title_justify="left", box=SIMPLE_HEAD if headings else None)
    grid.show_header = bool(headings)
    for name in headings:
        grid.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    for row in rows:
        grid.add_row(*(each if isinstance(each, Text) else Text(printable(each)) for each in row))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(grid)


def print_json(value: Any) -> None:
    """Print a JSON document, in which NaN and infinities are null, as JSON has neither."""
    finite = json.loads(json.dumps(value), parse_constant=lambda name: None)
    print(json.dumps(finite, indent=1).replace("\x7f", "\\u007f"))  # on which a terminal would act


def print_lines(text: str) -> None:
    """Print a result, in which characters are escaped on which a terminal would act."""
    print(printable_lines(text))


def say(line: str, as_json: bool = False) -> None:
    """Print a notice on standard output, or on standard error if that has a JSON document."""
    notice(line, sys.stderr if as_json else sys.stdout)
