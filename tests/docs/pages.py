"""docs/*.md -> their Python blocks, run in order in one namespace, as a reader would."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    *sorted(DOCS.rglob("*.md")),
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
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


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures within this repository."""
    found = LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if not link.startswith("https://")]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub derives them; a repeated one is numbered."""
    found: list[str] = []
    for heading in HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(slug)
        if found.count(slug) > 1:
            found.append(f"{slug}-{found.count(slug) - 1}")
    return set(found)


def broken_links(page: Path) -> list[str]:
    """Links of a page whose file does not exist, or whose page lacks the anchor."""
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken
