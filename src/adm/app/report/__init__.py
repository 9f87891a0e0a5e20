"""Blocks -> one self-contained page, or the same as Markdown."""

from adm.app.report.blocks import (
    Block,
    Cell,
    Figure,
    Folded,
    ImageRow,
    Images,
    Note,
    Table,
    Text,
    Title,
)
from adm.app.report.page import markdown, page

__all__ = [
    "Block",
    "Cell",
    "Figure",
    "Folded",
    "ImageRow",
    "Images",
    "Note",
    "Table",
    "Text",
    "Title",
    "markdown",
    "page",
]
