"""Title, blocks -> an HTML page of one file, in light and dark."""

import base64
import json
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment
from torch import Tensor

from adm.app.report.blocks import Block, Folded, Text, Title
from adm.pictures import LEAST, grid, png

SETTINGS = "All settings, seeds, hashes and versions"


def page(
    title: str,
    blocks: Sequence[Block],
    *,
    lead: str = "",
    facts: Sequence[tuple[str, str]] = (),
    settings: object = None,
    refresh: int | None = None,
) -> str:
    """Return a self-contained page; all text is escaped.

    Args:
        lead: a sentence below the title.
        facts: (name, value), listed below it.
        settings: all that the page depends on, as JSON values, folded at its end; None for none.
        refresh: seconds after which a browser reads the file again; None for never.
    """
    if settings is not None:
        values = Text(json.dumps(settings, indent=1))
        blocks = [*blocks, Title("Settings"), Folded(SETTINGS, [values])]
    folder = resources.files("adm.app.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"source": _source, "kind": lambda block: type(block).__name__}
    template = environment.from_string(folder.joinpath("page.html").read_text("utf-8"))
    style = folder.joinpath("style.css").read_text("utf-8")
    given = {"title": title, "lead": lead, "facts": facts, "refresh": refresh}
    return template.render(blocks=blocks, style=style, **given)


def _source(content: bytes) -> str:
    """Return the bytes of an image as the source of an HTML image."""
    kind = "webp" if content.startswith(b"RIFF") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


MOST = 128  # most pixels of the longer side of an image


def tiles(images: Tensor, across: int) -> bytes:
    """Return images (N, C, H, W) uint8 in rows of `across`, as a PNG file; gaps are transparent."""
    zoom = max(1, LEAST // max(images.shape[2:]))
    return png(grid(images, across, zoom=zoom, most=MOST, clear=True))
