"""Blocks -> one self-contained page."""

from adm.app.report.blocks import (
    Block,
    Cell,
    Figure,
    Folded,
    ImageGrid,
    ImageRow,
    Note,
    Table,
    Text,
    Title,
)
from adm.app.report.page import page

__all__ = [
    "Block",
    "Cell",
    "Figure",
    "Folded",
    "ImageGrid",
    "ImageRow",
    "Note",
    "Table",
    "Text",
    "Title",
    "page",
]
