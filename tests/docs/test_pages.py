"""Pages -> their links and pictures exist, and every committed picture and table is shown."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from docs import pages


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    assert pages.broken_links(page) == []


def test_every_committed_picture_is_on_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in pages.PAGES)
    pictures = list((pages.DOCS / "images").rglob("*.png"))
    assert len(pictures) > 30
    assert [file.name for file in pictures if file.name not in text] == []


def test_every_table_of_raw_numbers_is_listed_with_its_command() -> None:
    listed = re.findall(r"`([\w*-]+)`", (pages.DOCS / "results/data.md").read_text("utf-8"))
    tables = [file.stem for file in (pages.DOCS / "results/data").glob("*.csv")]
    assert len(tables) > 30
    assert [name for name in tables if not any(fnmatch(name, each) for each in listed)] == []


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
