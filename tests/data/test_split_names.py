"""Names of the test split, the same in folders, archives, shards and `datasets`."""

from pathlib import Path

import pytest
from data.test_archives import KINDS, Make, make_tar, png

from adm.data import NoSplit, open_source

NAMES = ("test", "val", "valid", "validation", "eval", "dev")


def shards(path: Path, names: tuple[str, ...]) -> str:
    """One archive a split, of 1, 2, ... images."""
    path.mkdir()
    for count, name in enumerate(names, 1):
        files = {f"{i}.png": png(i) for i in range(count)}
        make_tar(path / f"{name}-000000.tar", files | {f"{i}.cls": b"0" for i in range(count)})
    return str(path)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_folders_of_splits(tmp_path: Path, make: Make, name: str) -> None:
    files = {"train/ant/1.png": png(1), "train/bee/1.png": png(2), f"{name}/bee/1.png": png(3)}
    spec = make(tmp_path / "set", files)
    train, test = open_source(spec), open_source(spec, split="test")
    assert train.classes == test.classes == ("ant", "bee")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [1])


@pytest.mark.parametrize("name", NAMES)
def test_shards(tmp_path: Path, name: str) -> None:
    spec = shards(tmp_path / "set", ("train", name))
    assert (len(open_source(spec)), len(open_source(spec, split="test"))) == (1, 2)
    assert len(open_source(f"{spec}/{name}-000000.tar", split="test")) == 2


@pytest.mark.parametrize("name", ["tests", "evaluation", "device", "value", "validated"])
def test_shards_that_only_begin_like_a_split_are_of_none(tmp_path: Path, name: str) -> None:
    spec = shards(tmp_path / "set", ("train", name))
    assert len(open_source(spec)) == 3
    with pytest.raises(NoSplit, match="has no test split"):
        open_source(spec, split="test")


@pytest.mark.parametrize("make", [*KINDS, None])
def test_of_several_names_the_first_is_the_test_split(tmp_path: Path, make: Make | None) -> None:
    names = ("train", "valid", "test", "dev")
    if make is None:
        spec = shards(tmp_path / "set", names)
    else:
        files = {f"{n}/a/{i}.png": png(i) for count, n in enumerate(names, 1) for i in range(count)}
        spec = make(tmp_path / "set", files)
    assert (len(open_source(spec)), len(open_source(spec, split="test"))) == (1, 3)


def test_a_split_that_is_absent_is_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "1.png").write_bytes(png(1))
    with pytest.raises(NoSplit, match="no sub-folder test, val, valid, validation, eval, dev; add"):
        open_source(str(tmp_path), split="test")
