"""Lists of labels: which column is which, an image listed twice, numbers of any size."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from data.test_archives import make_folder, make_tar, png

from adm.data import Source, open_source

HUGE = 10**23 - 1
Open = Callable[[str], Source]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """The data of a.png, b.png and c.png by a list, as text."""
    spec = make_folder(tmp_path / "set", {f"{name}.png": png(i) for i, name in enumerate("abc")})

    def open_(text: str) -> Source:
        path = tmp_path / ("l.json" if text.startswith(("{", "[")) else "l.csv")
        path.write_text(text)
        return open_source(spec, labels=str(path))

    return open_


@pytest.mark.parametrize("head", ["file,label", "Label, File", "more,label,file"])
def test_columns_are_those_named_file_and_label(opened: Open, head: str) -> None:
    heads = [each.strip() for each in head.casefold().split(",")]
    rows = [head]
    for name, label in zip("abc", ("dog", "cat", "dog"), strict=True):
        cells = {"file": f"{name}.png", "label": label}
        rows.append(",".join(cells.get(each, "other") for each in heads))
    source = opened("\n".join(rows))
    assert (source.classes, source.labels.tolist()) == (("cat", "dog"), [1, 0, 1])


@pytest.mark.parametrize("head", ["filename,breed", "a.png,cat", "file", "label,snapshot"])
def test_columns_without_these_names_are_refused(opened: Open, head: str) -> None:
    with pytest.raises(ValueError, match=r"l\.csv starts with .* first row: file,label"):
        opened(f"{head}\na.png,b.png,x")


LISTED_TWICE = [
    "file,label\na.png,cat\nb.png,dog\na.png,dog\n",
    "file,label\na.png,cat\nb.png,dog\n./a,dog\n",
    '[["a.png", "cat"], ["b.png", "dog"], ["a.png", "dog"]]',
    '{"a.png": "cat", "b.png": "dog", "a": "dog"}',
]


@pytest.mark.parametrize("text", LISTED_TWICE)
def test_an_image_with_two_labels_is_refused(opened: Open, text: str) -> None:
    with pytest.raises(ValueError, match=r"set/a\.png has the labels cat and dog .*; keep"):
        opened(text)
    again = opened(text.replace("dog", "cat"))
    assert (again.classes, again.labels.tolist()) == (("cat",), [0, 0])


@pytest.mark.parametrize("number", [HUGE, -HUGE, 1 << 63])
@pytest.mark.parametrize("form", ["csv", "json", "cls"])
def test_numbers_of_any_size_are_refused_with_their_range(
    opened: Open, tmp_path: Path, number: int, form: str
) -> None:
    low, high = min(0, number), max(0, number)
    files = {"a.png": png(0), "a.cls": b"0", "b.png": png(1), "b.cls": b"%d" % number}
    shard = make_tar(tmp_path / "s.tar", files)
    open_ = {
        "csv": lambda: opened(f"file,label\na.png,0\nb.png,{number}\n"),
        "json": lambda: opened(json.dumps({"a.png": 0, "b.png": number})),
        "cls": lambda: open_source(shard),
    }[form]
    with pytest.raises(ValueError, match=rf"labels are {low}\.\.{high}, expected 0\.\.1048575; nu"):
        open_()
