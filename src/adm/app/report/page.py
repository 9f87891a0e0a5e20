"""Title, blocks -> an HTML page of one file, in light and dark; the same blocks -> Markdown."""

import base64
import json
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment
from torch import Tensor

from adm.app.report.blocks import Block, Folded, Images, Note, Table, Text, Title
from adm.pictures import LEAST, grid, png

SETTINGS = "All settings, seeds, hashes and versions"
KINDS = {b"\x89PNG": "png", b"GIF8": "gif"}  # first bytes -> type of image; else SVG


def page(
    title: str,
    blocks: Sequence[Block],
    *,
    lead: str = "",
    facts: Sequence[tuple[str, str]] = (),
    settings: object = None,
) -> str:
    """Return a self-contained page; all text is escaped.

    Args:
        lead: a sentence below the title.
        facts: (name, value), listed below it.
        settings: all that the page depends on, as JSON values, folded at its end; None for none.
    """
    if settings is not None:
        values = Text(json.dumps(settings, indent=1))
        blocks = [*blocks, Title("Settings"), Folded(SETTINGS, [values])]
    assert _titled(blocks), "a grid of images has no title"
    folder = resources.files("adm.app.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"source": _source, "kind": lambda block: type(block).__name__}
    template = environment.from_string(folder.joinpath("page.html").read_text("utf-8"))
    style = folder.joinpath("style.css").read_text("utf-8")
    return template.render(title=title, blocks=blocks, lead=lead, facts=facts, style=style)


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """Return titles, notes and tables of a page as Markdown, those that are folded too."""
    return "\n\n".join([f"# {title}", *_parts(blocks)]) + "\n"


def _titled(blocks: Sequence[Block], titled: bool = False) -> bool:
    """Whether each grid of images is below its title, or in what a click unfolds by its name."""
    for block in blocks:
        if isinstance(block, Images) and not titled:
            return False
        if isinstance(block, Folded) and not _titled(block.blocks, True):
            return False
        titled = isinstance(block, Title) or (titled and isinstance(block, Note))
    return True


def _parts(blocks: Sequence[Block]) -> list[str]:
    parts: list[str] = []
    for block in blocks:
        match block:
            case Title(text, level):
                parts.append(f"{'#' * level} {text}")
            case Note(paragraphs):
                parts += paragraphs
            case Table(headings, rows):
                body = [headings, ["---"] * len(headings), *rows]
                parts.append("\n".join(f"| {' | '.join(map(str, row))} |" for row in body))
            case Folded(summary, inner):
                parts += [f"**{summary}**"] * bool(nested := _parts(inner)) + nested
            case _:  # pictures, and text for machines
                pass
    return parts


def _source(content: bytes) -> str:
    """Return the bytes of an image as the source of an HTML image."""
    kind = KINDS.get(content[:4], "svg+xml")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


MOST = 128  # most pixels of the longer side of an image


def tiles(images: Tensor, across: int) -> bytes:
    """Return images (N, C, H, W) uint8 in rows of `across`, as a PNG file."""
    zoom = max(1, LEAST // max(images.shape[2:]))
    return png(grid(images, across, zoom=zoom, most=MOST))
