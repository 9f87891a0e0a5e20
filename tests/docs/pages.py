"""docs/*.md -> their Python blocks, run in order in one namespace, as a reader would."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    """The number of each Python block's first line, and the block."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield text.count("\n", 0, found.start(1)), found[1]


def run(page: Path) -> dict[str, Any]:
    """Execute every Python block of a page in the current folder; returns what they define.

    Tracebacks name the page and its own lines.
    """
    namespace: dict[str, Any] = {"__name__": page.stem}
    for lines_before, block in blocks(page):
        exec(compile("\n" * lines_before + block, str(page), "exec"), namespace)
    return namespace


def broken_links(page: Path) -> list[str]:
    """Links to files of this project that are not there."""
    links = (link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8")))
    local = [link for link in links if link and not link.startswith("https://")]
    assert local, f"{page.name} links to nothing"
    return [link for link in local if not (page.parent / link).exists()]
