"""Images without file names: a list names them by split and number; others by their files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data.test_archives import make_folder, make_tar, make_zip, png

from adm.data import NoSplit, Source, hold_out, open_source, registry
from adm.data.registry import find
from adm.data.source import in_memory

COUNTS = {"train": 6, "test": 4}


@pytest.fixture
def greys(monkeypatch: pytest.MonkeyPatch) -> str:
    """Data with a name and two splits: image i is of level 10 i."""

    def opened(place: str, split: str) -> Source:
        count = COUNTS[split]
        images = (10 * torch.arange(count, dtype=torch.uint8)).reshape(-1, 1, 1, 1)
        return in_memory("greys", ("a", "b"), images.expand(-1, 1, 4, 4), torch.arange(count) % 2)

    monkeypatch.setitem(registry.NAMED, "greys", opened)
    return "greys"


def listed(path: Path, *rows: str) -> str:
    path.write_text("\n".join(["file,label", *rows]) + "\n")
    return str(path)


def levels(source: Source) -> list[int]:
    return source.batch(range(len(source)))[0][:, 0, 0, 0].tolist()


def test_a_list_of_one_split_labels_these_images_and_no_others(greys: str, tmp_path: Path) -> None:
    path = listed(tmp_path / "l.csv", "train/4,wool", "train/0,silk", "train/5,wool")
    source = open_source(greys, labels=path)
    assert source.classes == ("silk", "wool")
    assert (levels(source), source.labels.tolist()) == ([0, 40, 50], [0, 1, 1])
    with pytest.raises(NoSplit, match="the list of labels has no image of the test split"):
        open_source(greys, split="test", labels=path)


def test_classes_of_a_list_of_both_splits_are_equal(greys: str, tmp_path: Path) -> None:
    path = listed(tmp_path / "l.csv", "train/1,wool", "test/3,silk", "test/2,wool")
    train, test = (open_source(greys, split=split, labels=path) for split in COUNTS)
    assert train.classes == test.classes == ("silk", "wool")
    assert (levels(train), train.labels.tolist()) == ([10], [1])
    assert (levels(test), test.labels.tolist()) == ([20, 30], [1, 0])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train/6,a", "the list of labels has train/6, which is not in greys"),
        ("train/06,a", "the list of labels has train/06, which is not in greys"),
        ("train/0,b", "l.csv gives train/0 the labels a and b; keep one"),
    ],
)
def test_other_names_are_refused(greys: str, tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_source(greys, labels=listed(tmp_path / "l.csv", "train/0,a", row))


def test_another_rule_is_refused_with_the_cure(greys: str) -> None:
    with pytest.raises(ValueError, match="the images of greys have no file names, of which"):
        open_source(greys, labels="prefix")
    with pytest.raises(ValueError, match=r"list of labels no\.csv does not exist"):
        open_source(greys, labels="no.csv")


def shards(path: Path) -> str:
    """Two archives of the training split and one of the test split, whose files share names."""
    path.mkdir()
    for name in ("train-000000", "train-000001", "test-000000"):
        files = {f"{i}.png": png(i) for i in range(2)}
        make_tar(path / f"{name}.tar", files | {f"{i}.cls": b"0" for i in range(2)})
    return str(path)


def folder(path: Path, make: Callable[..., str] = make_folder) -> str:
    return make(
        path, {name: png(i) for i, name in enumerate(("cat/2.png", "cat/10.png", "b/1.png"))}
    )


def splits(path: Path) -> str:
    return make_folder(path, {f"{split}/a/{i}.png": png(i) for split in COUNTS for i in range(2)})


def arrays(path: Path) -> str:
    images = np.arange(5, dtype=np.uint8).repeat(16).reshape(5, 4, 4, 1)
    np.savez(path.with_suffix(".npz"), arr_0=images)
    return str(path.with_suffix(".npz"))


def one_archive(path: Path) -> str:
    files = {f"top/{side}/{i}.png": png(i) for side in "ab" for i in range(2)}
    return make_tar(path.with_suffix(".tar"), files | {f"{f[:-4]}.cls": b"1" for f in files})


DATA = {
    "shards": shards,
    "a folder": folder,
    "a .zip": lambda path: folder(path, make_zip),
    "a .tar": one_archive,
    "folders of splits": splits,
    "arrays": arrays,
}


@pytest.mark.parametrize("kind", DATA)
def test_the_names_of_all_images_make_a_list_of_them(tmp_path: Path, kind: str) -> None:
    spec, path = DATA[kind](tmp_path / "set"), tmp_path / "list.csv"
    source = find(spec)
    names = [source.name_in_list(index) for index in range(len(source))]
    pairs = [(name, f"c{index % 3}") for index, name in enumerate(names)]
    rows = "\n".join(f"{name},{label}" for name, label in pairs)
    path.write_text(f"file,label\n{rows}\n")
    again = find(spec, labels=str(path))
    assert again.classes == tuple(sorted({label for _, label in pairs}))
    assert again.labels.tolist() == [index % 3 for index in range(len(source))]
    assert [again.name_in_list(index) for index in range(len(again))] == names
    before, after = (open_source(spec, labels=labels) for labels in (None, str(path)))
    assert torch.equal(before.batch(range(len(names)))[0], after.batch(range(len(names)))[0])


@pytest.mark.parametrize("kind", ["shards", "folders of splits"])
def test_a_list_of_the_training_split_leaves_no_test_split(tmp_path: Path, kind: str) -> None:
    spec = DATA[kind](tmp_path / "set")
    source = find(spec)
    rows = [f"{source.name_in_list(index)},a" for index in range(len(source))]
    path = listed(tmp_path / "l.csv", *rows)
    assert len(open_source(spec, labels=path)) == len(rows)
    with pytest.raises(NoSplit):
        open_source(spec, split="test", labels=path)


def test_a_part_of_the_images_keeps_their_names(greys: str) -> None:
    one, other = hold_out(open_source(greys), 0.5)
    names = [part.name_in_list(i) for part in (one, other) for i in range(len(part))]
    assert sorted(names) == [f"train/{index}" for index in range(6)]
