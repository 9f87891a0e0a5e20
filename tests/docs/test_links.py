"""Page -> its relative links and anchors, which resolve."""

from pathlib import Path

import pytest

from docs import pages


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    assert pages.broken_links(page) == []


def test_pages_link_to_files_and_to_headings() -> None:
    found = {page.name: pages.links(page) for page in pages.PAGES}
    assert len(found) == len(pages.PAGES) > 15
    assert len(found["README.md"]) > 10
    assert "tour.md#write-a-gradient-of-your-own" in found["extending.md"]


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
