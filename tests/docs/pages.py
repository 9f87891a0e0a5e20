"""Pages -> their links, pictures and blocks. Sphinx checks and runs docs/: `make docs`."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OUTSIDE = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
PAGES = [*OUTSIDE, *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(
    r"^```(?:python|\{code-cell\})\n(?::tags: [^\n]*\n\n)?(.*?)^```$", re.MULTILINE | re.DOTALL
)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: Path) -> Iterator[str]:
    """The Python blocks of a page."""
    return (match[1] for match in BLOCK.finditer(page.read_text(encoding="utf-8")))


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures within this repository."""
    targets = LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    return [link for link in targets if not link.startswith("https://")]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub derives them; a repeated one is numbered."""
    slugs: list[str] = []
    for heading in HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        slugs.append(slug)
        if slugs.count(slug) > 1:
            slugs.append(f"{slug}-{slugs.count(slug) - 1}")
    return set(slugs)


def broken_links(page: Path) -> list[str]:
    """Links of a page whose file does not exist, or whose page lacks the anchor."""
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken
