"""Names and years in the code and on the pages <-> the entries of docs/bibliography.md."""

import re

from docs import pages

PAGE = pages.DOCS / "bibliography.md"
NAME = r"[A-ZÀ-Þ][\w-]+"
CITED = re.compile(rf"\b({NAME})(?: et al\.| (?:and|&) {NAME}),? \(?((?:19|20)\d\d)(?!\d)")
ENTRY = re.compile(r"^- \*\*(.+) (\d{4})b?\.\*\*", re.MULTILINE)
FOLDERS = ("src", "docs", "benchmarks", "baselines", "examples", "tests")
FILES = [
    path
    for folder in FOLDERS
    for path in (pages.ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md") and path != PAGE
]
TEXTS = {path: re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text("utf-8")) for path in FILES}
ENTRIES = ENTRY.findall(PAGE.read_text("utf-8"))


def test_every_citation_has_an_entry() -> None:
    known = {(name, year) for names, year in ENTRIES for name in re.findall(NAME, names)}
    cited = {found: path for path, text in TEXTS.items() for found in CITED.findall(text)}
    assert len(cited) > 60
    assert {found: path for found, path in cited.items() if found not in known} == {}


def test_every_entry_is_cited() -> None:
    everything = " ".join(TEXTS.values())
    unused = [
        (names, year)
        for names, year in ENTRIES
        if not re.search(rf"{re.findall(NAME, names)[0]}[^.]{{0,60}}?\W{year}", everything)
        and not re.search(rf"{re.findall(NAME, names)[0]} et al\. \(?{year}", everything)
    ]
    assert unused == []
