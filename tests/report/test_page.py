"""Blocks -> a self-contained page, whose text is escaped."""

import io
from html.parser import HTMLParser

import torch
from PIL import Image

from adm.app.report import (
    Cell,
    Figure,
    Folded,
    ImageGrid,
    ImageRow,
    Note,
    Table,
    Text,
    Title,
    page,
)
from adm.app.report.page import tiles

EVIL = "<script>alert('\"&')</script>"
PNG, WEBP = b"\x89PNG....", b"RIFF...."
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
        Table([text, "b"], [[text, Cell(text, text, best=True)], [text, Cell(text)]]),
        Figure(PNG, text),
        Title(text, 3),
        ImageGrid([ImageRow(f"{text}\n2", [PNG, PNG])], [text, "other"]),
        Title(text, 3),
        ImageGrid([ImageRow("", [WEBP])]),
        Folded(text, [Text(text), Folded(text, [Note([text])])]),
    ]


def test_all_text_of_all_blocks_is_escaped_and_present() -> None:
    text = page(EVIL, blocks(EVIL), lead=EVIL, facts=[(EVIL, EVIL)], settings={EVIL: EVIL})
    parsed = Parsed(text)
    assert not parsed.open
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert parsed.text.count(EVIL) == 22
    assert sum(EVIL in (each["alt"] or "") for each in parsed.of("img")) == 3


def test_a_page_is_self_contained_and_all_pictures_have_alternative_text() -> None:
    parsed = Parsed(page("title", blocks("some")))
    addresses = [
        each[key] or "" for _, each in parsed.tags for key in ("src", "href") if key in each
    ]
    kinds = [address.partition(";")[0].removeprefix("data:image/") for address in addresses]
    assert kinds == ["png", "png", "png", "webp"]
    assert all(each["alt"] for each in parsed.of("img"))
    assert not parsed.of("link")


def test_a_value_below_the_others_on_a_narrow_page_has_its_heading() -> None:
    headings = ["name", Cell("score", "lower is better"), "steps", "command"]
    parsed = Parsed(page("title", [Table(headings, [["a", Cell("1.5", "1 to 2"), "3", "4"]])]))
    labels = [attributes["data-of"] for tag, attributes in parsed.tags if tag == "td"]
    assert labels == ["name", "score, lower is better", "steps", "command"]
    grid = ImageGrid([ImageRow("a", [PNG, PNG])], ["left", "right"])
    parsed = Parsed(page("title", [Title("b"), grid]))
    labels = [attributes["data-of"] for tag, attributes in parsed.tags if tag == "td"]
    assert labels == ["left", "right"]


def test_what_lies_between_pictures_is_the_page() -> None:
    with Image.open(io.BytesIO(tiles(torch.zeros(3, 1, 56, 56, dtype=torch.uint8), 2))) as picture:
        alpha = picture.getchannel("A")
        clear = [alpha.getpixel(place) for place in ((0, 0), (56, 0), (57, 57))]
    assert clear == [255, 0, 0]
