"""docs/howto/data.md -> its Python runs."""

from pathlib import Path

import pytest

from docs import pages

PAGE = pages.DOCS / "howto" / "data.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = pages.run(PAGE)
    assert page["source"].classes == ("cat", "dog")
    assert page["images"].shape == (2, 3, 32, 32)
    assert len(page["training"]) + len(page["validation"]) == 40
