"""Lists of labels: their columns, an image listed twice, and lists that are made to do harm."""

from collections.abc import Callable
from pathlib import Path

import pytest
from data.test_archives import make_folder, make_tar, png

from adm.data import Source, lists, open_source

HUGE = 10**23 - 1
Open = Callable[[str], Source]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """The data of a.png, b.png and c.png by a list, as text."""
    spec = make_folder(tmp_path / "set", {f"{name}.png": png(i) for i, name in enumerate("abc")})

    def open_(text: str) -> Source:
        path = tmp_path / "l.csv"
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
    "file,label\na.png,cat\nb.png,dog\n./a.png,dog\n",
]


@pytest.mark.parametrize("text", LISTED_TWICE)
def test_an_image_with_two_labels_is_refused(opened: Open, text: str) -> None:
    with pytest.raises(ValueError, match=r"l\.csv gives a\.png the labels cat and dog; keep"):
        opened(text)
    again = opened(text.replace("dog", "cat"))
    assert (again.classes, again.labels.tolist()) == (("cat",), [0, 0])


@pytest.mark.parametrize("number", [HUGE, -HUGE, 1 << 63])
@pytest.mark.parametrize("form", ["csv", "cls"])
def test_numbers_of_any_size_are_refused_with_their_range(
    opened: Open, tmp_path: Path, number: int, form: str
) -> None:
    low, high = min(0, number), max(0, number)
    files = {"a.png": png(0), "a.cls": b"0", "b.png": png(1), "b.cls": b"%d" % number}
    shard = make_tar(tmp_path / "s.tar", files)
    open_ = {
        "csv": lambda: opened(f"file,label\na.png,0\nb.png,{number}\n"),
        "cls": lambda: open_source(shard),
    }[form]
    with pytest.raises(ValueError, match=rf"labels are {low}\.\.{high}, expected 0\.\.1048575; nu"):
        open_()


LONG = "x" * 200_000
HARMFUL = {
    "a long label": (f"file,label\na.png,{LONG[:1000]}", "of 1000 characters, expected 1 to 256"),
    "a long file": (f"file,label\n{LONG[:1000]},dog", "is not in .*set; correct the list"),
    "a long field": (f"file,label\n{LONG},dog", "line 2: field larger than field limit"),
    "a quote without end": ('file,label\na.png,"dog\nb.png,cat\n', "unexpected end of data"),
    "NUL in a file": ("file,label\na\0b,dog", r"has a\\x00b, which is not in"),
    "an escape": (
        "file,label\na.png,\x1b[31mred",
        r"a label is '\\x1b\[31mred', which has control",
    ),
    "many digits": ("file,label\na.png," + "9" * 5_000, "of 5000 characters, expected 1 to 256"),
    "below 0": ("file,label\na.png,-1", "labels are -1..-1, expected"),
    "no rows": ("file,label\n", r"l\.csv is empty"),
    "empty": ("", "starts with ; name its columns"),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful_lists_are_refused_with_the_fault(opened: Open, kind: str) -> None:
    text, message = HARMFUL[kind]
    with pytest.raises(ValueError, match=message) as refused:
        opened(text)
    assert len(str(refused.value)) < 1000
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_other_programs_are_read(opened: Open, end: str) -> None:
    rows = (
        "\ufefffile,label",
        'a.png,"big, ""red"" dog"',
        "b.png,chat à poil 🐈\u200d⬛",
        "c.png,3",
    )
    source = opened(end.join(rows))
    assert source.classes == ("3", 'big, "red" dog', "chat à poil 🐈\u200d⬛")


def test_a_table_that_is_not_utf8_or_is_too_large_is_refused(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(opened("file,label\na.png,cat\n")) == 1
    for limit, most in (("MOST_ROWS", 1), ("MOST_BYTES", 8)):
        with monkeypatch.context() as patched:
            patched.setattr(lists, limit, most)
            with pytest.raises(ValueError, match=rf"more than {most} lines|bytes, over {most}"):
                opened("file,label\na.png,cat\n")
    (tmp_path / "l.csv").write_bytes(b"file,label\na.png,\xff")
    with pytest.raises(ValueError, match="is not UTF-8 at byte 17; save it as UTF-8"):
        open_source(str(tmp_path / "set"), labels=str(tmp_path / "l.csv"))
