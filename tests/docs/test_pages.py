"""Page -> its links and anchors, and the names that its Python blocks import: all of them exist."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from docs import pages


def imported(page: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every import from this package; the name is None for `import module`."""
    for _, block in pages.blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "adm":
                yield from ((str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names if alias.name == "adm")


def missing(page: Path) -> list[str]:
    """The imports of a page that would fail."""
    failing = []
    for module, name in imported(page):
        try:
            found = import_module(module)
            if name is not None and not hasattr(found, name):
                import_module(f"{module}.{name}")
        except ImportError:
            failing.append(f"{module}: {name}")
    return failing


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_links_and_imports_resolve(page: Path) -> None:
    assert pages.broken_links(page) == []
    assert missing(page) == []


def test_pages_link_to_files_and_to_headings() -> None:
    found = {page.relative_to(pages.ROOT).as_posix(): pages.links(page) for page in pages.PAGES}
    assert len(found) == len(pages.PAGES) > 15
    assert len(found["README.md"]) > 10
    assert "sample.md#restore-an-image" in found["docs/howto/extend.md"]


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("page.md#twice-1", False),
        ("none.md", True),
        ("page.md#twice-2", True),
        ("page.md#a-comment", True),
    ],
)
def test_a_broken_link_is_noticed(tmp_path: Path, link: str, is_broken: bool) -> None:
    page = tmp_path / "page.md"
    headings = "# A title, `in code`\n\n## Twice\n\n## Twice\n\n```\n# a comment\n```\n"
    page.write_text(f"{headings}\nSee [the page]({link}).\n")
    assert pages.broken_links(page) == ([link] if is_broken else [])
