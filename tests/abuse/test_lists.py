"""Malicious lists of labels and names of classes: a line that names the fault, in time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from data.test_archives import make_folder, make_tar, png
from mutations import DEEP, refusal

from adm.data import Source, labels, lists, open_source

FILES = {f"{name}_{i}.png": png(i) for i, name in enumerate(("dog", "cat", "dog"))}
Open = Callable[[str, bytes], Source]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """The images of a folder by a list in it."""
    spec = Path(make_folder(tmp_path / "set", FILES))

    def open_(name: str, content: bytes) -> Source:
        (spec / name).write_bytes(content)
        return open_source(str(spec), size=(4, 4), labels=name)

    return open_


LONG = "x" * 100_000
CSV = {
    "a long label": (f"dog_0,{LONG}", "characters"),
    "a long file": (f"{LONG},dog", "characters"),
    "a long line": ("dog_0,dog\n" + LONG, "line 2: over 65536 characters"),
    "many columns in many lines": (('"' + "," * 60_000 + '\n"') * 3, "over 65536 characters"),
    "a quote without end": ('dog_0,"dog\ncat_1,cat\n', "unexpected end of data"),
    "NUL in a file": ("a\0b,dog", r"a\\x00b in the list of labels does not exist"),
    "an escape": ("dog_0,\x1b[31mred", r"a label is '\\x1b\[31mred', which has control"),
    "not UTF-8": (b"dog_0,\xff", "save it as UTF-8"),
    "many digits": ("dog_0," + "9" * 5_000, "of 5000 characters, expected 1 to 256"),
    "below 0": ("dog_0,-1", "labels are -1..-1, expected"),
    "a huge number": ("dog_0,1048576", "labels are 1048576..1048576, expected 0..1048575"),
    "many headings": (",".join(["file", *("x" * 100 for _ in range(600))]), "the headings file, "),
    "empty": ("", "the list of labels is empty"),
}


@pytest.mark.parametrize("kind", CSV)
def test_malicious_tables_are_refused_with_the_fault(opened: Open, kind: str) -> None:
    text, message = CSV[kind]
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ValueError, match=message):
        opened("l.csv", content)
    assert refusal(lambda: opened("l.csv", content)) is not None


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_valid_tables_are_read(opened: Open, start: str, end: str) -> None:
    rows = ("file,label", 'dog_0,"big, ""red"" dog"', "cat_1,chat à poil 🐈\u200d⬛", "dog_2,3")
    source = opened("l.csv", (start + end.join(rows)).encode())
    assert source.classes == ("3", 'big, "red" dog', "chat à poil 🐈\u200d⬛")


def test_other_digits_are_names(opened: Open) -> None:
    """Python's int() reads them, as it reads 1_0."""
    for text in ("٣", "1_0", "+1"):
        assert opened("l.csv", f"dog_0,{text}".encode()).classes == (text,)


JSON = {
    "deep": (DEEP, "recursion limit"),
    "deep value": ('{"dog_0": ' + "[" * 100 + "]" * 100 + "}", "expected a name"),
    "4000 digits": ('{"dog_0": ' + "9" * 4_000 + "}", "labels are 9+…9+"),
    "infinite": ('{"dog_0": Infinity}', "is inf, expected a name or an integer"),
    "surrogate": ('{"dog_0": "\\ud800"}', "hex escape"),
    "an escape": ('{"dog_0": "\\u001b[2J"}', "which has control characters"),
    "a long key": (json.dumps({LONG: []}), "is .., expected a name or an integer"),
    "a long label": (json.dumps({"dog_0": LONG}), "of 100000 characters, expected 1 to 256"),
    "other form": ('{"labels": 5, "dog_0": 5}', "in the list of labels|does not exist"),
    "trailing": ('{"dog_0": 5} {}', "cannot be read as JSON"),
}


@pytest.mark.parametrize("kind", JSON)
def test_malicious_json_is_refused_with_the_fault(opened: Open, kind: str) -> None:
    text, message = JSON[kind]
    with pytest.raises(ValueError, match=message):
        opened("l.json", text.encode())
    assert refusal(lambda: opened("l.json", text.encode())) is not None


CLASSES = {
    "an escape": ["\x1b[2J", "b", "c"],
    "surrogate": ["\ud800", "b", "c"],
    "long": [LONG, "b", "c"],
    "empty": ["", "b", "c"],
    "twice": ["a", "a", "c"],
    "an object": {"a": 1},
    "none": [],
    "deep": [[[]]],
}


@pytest.mark.parametrize("kind", CLASSES)
def test_names_that_cannot_be_classes_are_refused(tmp_path: Path, kind: str) -> None:
    content = json.dumps(CLASSES[kind]).encode()
    rows = b"dog_0,0\ncat_1,1\ndog_2,2\n"
    spec = make_folder(tmp_path / "set", {**FILES, "classes.json": content, "l.csv": rows})
    assert "classes.json" in (refusal(lambda: open_source(spec, labels="l.csv")) or "")
    files = {f"{i}.{end}": png(i) if end == "png" else b"%d" % i for i in (0, 1, 2) for end in ENDS}
    shard = make_tar(tmp_path / "a.tar", files)
    (tmp_path / "classes.json").write_bytes(content)
    assert "classes.json" in (refusal(lambda: open_source(shard)) or "")


ENDS = ("png", "cls")


@pytest.mark.parametrize("label", [b"\xff\xfe", b"\x1b[2J", b"", b"9" * 5_000, b"a" * 300, b"-1"])
def test_labels_in_shards_are_as_strict(tmp_path: Path, label: bytes) -> None:
    shard = make_tar(tmp_path / "a.tar", {"0.png": png(0), "0.cls": label})
    assert refusal(lambda: open_source(shard)) is not None
    field = b'{"label": "' + label + b'"}'
    shard = make_tar(tmp_path / "b.tar", {"a/0.png": png(0), "a/0.json": field})
    if label in (b"\xff\xfe", b"\x1b[2J"):  # which is no JSON, and no label
        assert open_source(shard).classes == ("a",)
    elif label != b"-1":
        assert refusal(lambda: open_source(shard)) is not None


@pytest.mark.parametrize(
    ("module", "limit", "message"),
    [
        (lists, "LONGEST_ROW", "over 8 characters"),
        (labels, "MOST_CLASSES", "2 classes, expected at most 1|expected 0..0"),
        (lists, "MOST_ROWS", "more than 1 lines"),
        (lists, "MOST_BYTES", "has 30 bytes, over 8|over 1"),
    ],
)
def test_limits_are_enforced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, limit: str, message: str
) -> None:
    spec = make_folder(tmp_path / "set", FILES)
    path = tmp_path / "l.csv"
    path.write_text("dog_0,pet\ncat_1,cat\ndog_2,pet\n")
    assert refusal(lambda: open_source(spec, labels=str(path))) is None
    monkeypatch.setattr(module, limit, 1 if limit in ("MOST_CLASSES", "MOST_ROWS") else 8)
    with pytest.raises(ValueError, match=message):
        open_source(spec, labels=str(path))
