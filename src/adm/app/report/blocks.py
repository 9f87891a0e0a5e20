"""The blocks of a page: titles, notes, tables, figures, grids of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class Title:
    """The title of a section.

    Attributes:
        level: 2 for a section, 3 for a part of one.
    """

    text: str
    level: Literal[2, 3] = 2


@dataclass(frozen=True)
class Note:
    """Sentences.

    Attributes:
        paragraphs: one or more.
        kind: `text`; `quiet`, for explanations; `result`, for findings, which are set apart.
    """

    paragraphs: Sequence[str]
    kind: Literal["text", "quiet", "result"] = "text"


@dataclass(frozen=True)
class Cell:
    """A value of a table.

    Attributes:
        value: as text.
        detail: in small letters below it, such as an interval.
        best: whether it is marked.
    """

    value: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers: the first column is left-aligned, the others are right-aligned.

    Attributes:
        headings: of the columns; the detail may say which values are better.
        rows: a value for each heading.
    """

    headings: Sequence[str | Cell]
    rows: Sequence[Sequence[str | Cell]]


@dataclass(frozen=True)
class Figure:
    """A drawing on white, which is dark on a dark page.

    Attributes:
        content: bytes of a PNG file.
        about: the alternative text.
        least: width in pixels below which it scrolls in its own box.
    """

    content: bytes
    about: str
    least: int = 280


@dataclass(frozen=True)
class ImageRow:
    """Pictures of one row.

    Attributes:
        name: at the left; may have several lines.
        pictures: bytes of PNG or WebP files.
    """

    name: str
    pictures: Sequence[bytes]


@dataclass(frozen=True)
class ImageGrid:
    """A grid of pictures.

    Attributes:
        rows: from the top.
        headings: of the columns, or none.
        across: images side by side in each picture, which decides how wide the grid is.
    """

    rows: Sequence[ImageRow]
    headings: Sequence[str] = ()
    across: int = 1


@dataclass(frozen=True)
class Text:
    """Preformatted text, such as JSON."""

    text: str


@dataclass(frozen=True)
class Folded:
    """Blocks that a click unfolds."""

    summary: str
    blocks: Sequence["Block"]
    opened: bool = False


Block: TypeAlias = Title | Note | Table | Figure | ImageGrid | Text | Folded
