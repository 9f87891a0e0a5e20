"""Pages -> their links and pictures exist, and every committed picture and table is shown."""

from pathlib import Path

import pytest

from docs import pages


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    assert pages.broken_links(page) == []


def test_every_committed_picture_and_table_is_on_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in pages.PAGES)
    files = [*(pages.DOCS / "images").rglob("*.png"), *(pages.DOCS / "results/data").glob("*.csv")]
    assert len(files) > 50
    assert [file.name for file in files if file.stem not in text] == []


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
