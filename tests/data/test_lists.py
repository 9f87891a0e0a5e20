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


@pytest.mark.parametrize(
    "head",
    [
        *("file,label", "breed,filename", "class_name,filename", "Class Name,File-Name"),
        *("label,snapshot", "image_path,breed", "class_id,image_id", "category,x"),
        *("more,label,file", "class_name,more,image_name"),
    ],
)
def test_columns_are_found_by_their_headings(opened: Open, head: str) -> None:
    heads = head.casefold().split(",")
    labels = ("breed", "class_name", "class name", "label", "class_id", "category")
    place = next(i for i, each in enumerate(heads) if each in labels)
    file = 1 - place if len(heads) == 2 else 2
    rows = [head]
    for name, label in zip("abc", ("dog", "cat", "dog"), strict=True):
        row = ["other"] * len(heads)
        row[place], row[file] = label, f"{name}.png"
        rows.append(",".join(row))
    source = opened("\n".join(rows))
    assert (source.classes, source.labels.tolist()) == (("cat", "dog"), [1, 0, 1])


@pytest.mark.parametrize(
    ("head", "column"),
    [
        ("filename,breed,age", "the labels; call that one label"),
        ("label,snapshot,age", "the files; call that one file"),
        ("file,path", "the labels; call that one label"),
        ("class,category", "the files; call that one file"),
        ("file", "the labels; call that one label"),
    ],
)
def test_headings_that_leave_a_column_open_are_refused(
    opened: Open, head: str, column: str
) -> None:
    with pytest.raises(ValueError, match=f"l.csv: the headings {head.replace(',', ', ')} do not.*"):
        opened(f"{head}\na.png,b.png,x")
    with pytest.raises(ValueError, match=f"which column has {column}"):
        opened(f"{head}\na.png,b.png,x")


def test_a_first_row_with_an_image_is_no_heading(opened: Open) -> None:
    source = opened("a.png,image\nb.png,label\n./c.png,image\n")
    assert (source.classes, source.labels.tolist()) == (("image", "label"), [0, 1, 0])


LISTED_TWICE = [
    "a.png,cat\nb.png,dog\na.png,dog\n",
    "a.png,cat\nb.png,dog\n./a,dog\n",
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
        "csv": lambda: opened(f"a.png,0\nb.png,{number}\n"),
        "json": lambda: opened(json.dumps({"a.png": 0, "b.png": number})),
        "cls": lambda: open_source(shard),
    }[form]
    with pytest.raises(ValueError, match=rf"labels are {low}\.\.{high}, expected 0\.\.1048575; nu"):
        open_()
