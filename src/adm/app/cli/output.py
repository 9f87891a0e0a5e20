"""Any, bool -> one JSON document, or text, on standard output; notices."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adm.app.notices import notice
from adm.shown import printable

OUT = Parameter(name=("--out", "-o"))
AsJson = Annotated[
    bool, Parameter(name="--json", negative="", help="Print the result as one JSON document.")
]


def show(value: Callable[[], Any], as_json: bool, text: Callable[[], None]) -> None:
    """Print a result: as one JSON document, or by `text`.

    Args:
        value: returns the result as JSON values; NaN and infinities become null.
    """
    if as_json:
        print(as_document(_finite(value()), indent=1))
    else:
        text()


def table(
    rows: Iterable[Sequence[str | Text]],
    headings: Sequence[str] = (),
    title: str = "",
    width: int | None = 100,
) -> None:
    """Print a table of literal text: rich would read [husky] and :dog: as markup.

    Args:
        headings: of the columns; one that starts with > is to the right.
        width: characters of a line, in which long text is broken; None for those of the terminal.
    """
    above = Text(printable(title), style="table.title") if title else None
    grid = Table(title=above, title_justify="left", box=SIMPLE_HEAD if headings else None)
    grid.show_header = bool(headings)
    for name in headings:
        grid.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    for row in rows:
        grid.add_row(*(each if isinstance(each, Text) else Text(printable(each)) for each in row))
    Console(width=width).print(grid)


def as_document(value: Any, indent: int) -> str:
    """Return a JSON document for standard output.

    Characters on which a terminal would act, or that the encoding lacks, are escaped as in JSON.
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    in_ascii = not encoding.startswith("utf")
    text = json.dumps(value, indent=indent, ensure_ascii=in_ascii, allow_nan=False)
    return "\n".join(
        line if line.isprintable() else "".join(map(_escaped, line)) for line in text.split("\n")
    )


def _escaped(character: str) -> str:
    is_plain = printable(character) == character
    return character if is_plain else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


def say(line: str, as_json: bool = False) -> None:
    """Print a notice on standard output, or on standard error if that has a JSON document."""
    notice(line, sys.stderr if as_json else sys.stdout)


def _finite(value: Any) -> Any:
    """Replace NaN and infinities by None, because JSON has neither."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
