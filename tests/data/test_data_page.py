"""docs/data.md -> its Python runs, its links resolve, and it names every form and rule there is."""

from pathlib import Path

import pytest

from adm.data.labels import SPLITS
from adm.data.lists import FILE_COLUMNS, LABEL_COLUMNS, LISTS
from adm.data.pack import FORMATS
from adm.data.registry import ARRAYS, NAMED
from docs import pages

PAGE = pages.DOCS / "data.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = pages.run(PAGE)
    assert page["source"].classes == ("cat", "dog")
    assert page["images"].shape == (2, 3, 32, 32)
    assert len(page["training"]) + len(page["validation"]) == 40


def test_links_resolve() -> None:
    assert pages.broken_links(PAGE) == []


def test_every_form_and_rule_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    words = (*NAMED, *ARRAYS, *LISTS, *FORMATS, *LABEL_COLUMNS, FILE_COLUMNS[0])
    for word in (*words, *(f"`{name}`" for name in SPLITS["test"])):
        assert word in text, word
