"""Blocks -> a self-contained page, whose text is escaped, and Markdown."""

from html.parser import HTMLParser

import pytest

from adm.app.report import (
    Cell,
    Figure,
    Folded,
    ImageRow,
    Images,
    Note,
    Table,
    Text,
    Title,
    markdown,
    page,
)

EVIL = "<script>alert('\"&')</script>"
PNG, GIF, SVG = b"\x89PNG....", b"GIF89a....", b"<svg xmlns='...'/>"
VOID = {"meta", "img", "br", "col"}


class Parsed(HTMLParser):
    """The tags of a page, which must be closed in order, with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def blocks(text: str) -> list:
    return [
        Title(text),
        Note([text, text], "result"),
        Table([text, "b"], [[text, Cell(text, text, best=True)], [text, Cell(text, code=True)]]),
        Figure(PNG, text),
        Figure(GIF, text, drawn=False),
        Figure(SVG, text),
        Title(text, 3),
        Images([ImageRow(f"{text}\n2", [PNG, PNG], [text, text])], [text, "other"]),
        Title(text, 3),
        Images([ImageRow("", [PNG])]),
        Folded(text, [Text(text), Folded(text, [Note([text])])]),
    ]


def test_all_text_of_all_blocks_is_escaped_and_present() -> None:
    text = page(EVIL, blocks(EVIL), lead=EVIL, facts=[(EVIL, EVIL)], settings={EVIL: EVIL})
    parsed = Parsed(text)
    assert not parsed.open
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert parsed.text.count(EVIL) == 24
    assert sum(EVIL in (each["alt"] or "") for each in parsed.of("img")) == 5


def test_a_page_is_self_contained_and_all_pictures_have_alternative_text() -> None:
    parsed = Parsed(page("title", blocks("some")))
    addresses = [
        each[key] or "" for _, each in parsed.tags for key in ("src", "href") if key in each
    ]
    kinds = [address.partition(";")[0].removeprefix("data:image/") for address in addresses]
    assert kinds == ["png", "gif", "svg+xml", "png", "png", "png"]
    assert all(each["alt"] for each in parsed.of("img"))
    assert not parsed.of("link")


def test_an_empty_cell_is_not_marked_as_the_best() -> None:
    assert [str(Cell(value, best=True)) for value in ("", "1.5")] == ["", "**1.5**"]


def test_markdown_has_titles_notes_and_tables_also_of_what_is_folded() -> None:
    table = Table(["scale", "score"], [["0", Cell("1.5", "1 to 2", best=True)]])
    text = markdown("Top", [Title("A"), Note(["One.", "Two."]), Folded("more", [table]), Text("x")])
    assert text == (
        "# Top\n\n## A\n\nOne.\n\nTwo.\n\n**more**\n\n"
        "| scale | score |\n| --- | --- |\n| 0 | **1.5** (1 to 2) |\n"
    )


def test_every_grid_of_images_has_a_title() -> None:
    grid = Images([ImageRow("", [PNG])])
    note = Note(["about"])
    for above in ([Title("a"), note], [Title("a", 3)]):
        page("title", [*above, grid])
    page("title", [Folded("a", [grid])])
    for above in ([], [note], [Title("a"), Table(["b"], [["c"]])], [Title("a"), grid]):
        with pytest.raises(AssertionError, match="has no title"):
            page("title", [*above, grid])


def test_a_value_below_the_others_on_a_narrow_page_has_its_heading() -> None:
    headings = ["name", Cell("score", "lower is better"), "steps", "command"]
    parsed = Parsed(page("title", [Table(headings, [["a", Cell("1.5", "1 to 2"), "3", "4"]])]))
    labels = [attributes["data-of"] for tag, attributes in parsed.tags if tag == "td"]
    assert labels == ["name", "score, lower is better", "steps", "command"]
    grid = Images([ImageRow("a", [PNG, PNG])], ["left", "right"])
    parsed = Parsed(page("title", [Title("b"), grid]))
    labels = [attributes["data-of"] for tag, attributes in parsed.tags if tag == "td"]
    assert labels == ["left", "right"]
