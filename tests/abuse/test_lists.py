"""Lists of labels and names of classes of others -> labels, or one line."""

import csv
import io
from pathlib import Path

import pytest
from abuse.damage import TEXTS, damaged, json_bytes, tried
from abuse.refused import refusal
from data.test_archives import make_folder, make_tar, png
from hypothesis import given
from hypothesis import strategies as st

from adm.data import open_source

FILES = {f"{name}_{i}.png": png(i) for i, name in enumerate(("dog", "cat", "dog"))}
ROWS = [["file", "label"], *([name, name.partition("_")[0]] for name in FILES)]
CLASSES = ["bird", "cat", "dog"]


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A CSV file with an odd cell, a missing or an added one, or damaged bytes."""
    rows = [[*row] for row in ROWS]
    row = draw(st.sampled_from(rows))
    cell = draw(st.sampled_from(TEXTS) | st.sampled_from(("9" * 5000, "-1", "1048576", '"', "٣")))
    how = draw(st.sampled_from(("replaced", "replaced", "removed", "added", "bytes")))
    if how == "replaced":
        row[draw(st.integers(0, 1))] = cell
    elif how == "removed":
        row.pop()
    else:
        row += [cell] * draw(st.sampled_from((1, 600)))
    stream = io.StringIO()
    csv.writer(stream, lineterminator=draw(st.sampled_from(("\n", "\r\n")))).writerows(rows)
    content = stream.getvalue().encode("utf-8", "surrogatepass")
    return draw(damaged(content)) if how == "bytes" else content


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_folder(tmp_path_factory.mktemp("images") / "set", FILES))


@given(content=tables())
@tried
def test_damaged_lists_are_refused_in_a_line(images: Path, content: bytes) -> None:
    path = images / "l.csv"
    path.write_bytes(content)
    refusal(lambda: open_source(str(images), size=(4, 4), labels=str(path)))
    path.unlink()


@given(content=json_bytes(CLASSES))
@tried
def test_damaged_names_of_classes_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    numbers = {f"{i}.cls": b"%d" % i for i in range(3)}
    shard = make_tar(folder / "a.tar", numbers | {f"{i}.png": png(i) for i in range(3)})
    (folder / "classes.json").write_bytes(content)
    refusal(lambda: open_source(shard))
