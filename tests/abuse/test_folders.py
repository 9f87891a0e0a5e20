"""Folders with special files, circular links and names of any kind: one line, or a listing."""

import os
import socket
from pathlib import Path

import pytest
from data.test_archives import make_folder, png
from mutations import ends_within, refusal

from adm.data import CorruptImage, Source, folder, open_source
from adm.data.registry import find


def opened(path: Path, **how: str) -> Source:
    source = open_source(str(path), size=(4, 4), **how)
    source.batch(range(len(source)))
    return source


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def random(path: Path) -> None:
    path.symlink_to("/dev/random")


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_suffix(".pipe"))
    path.symlink_to(path.with_suffix(".pipe"))


def bound(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have 108 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(before)


KINDS = (pipe, linked_pipe, endless, random, bound)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    "name", ["a/1.png", "set.tar", "set.zip", "set.npz", "labels.csv", "a/dataset.json"]
)
def test_special_files_are_refused_or_ignored(tmp_path: Path, make, name: str) -> None:
    make_folder(tmp_path / "a", {"2.png": png(0)})
    make(tmp_path / name)
    if name == "a/dataset.json":  # which may be absent, and is no file
        assert len(opened(tmp_path / "a")) == 1
        return
    labels = {"labels": str(tmp_path / name)} if name == "labels.csv" else {}
    spec = tmp_path / "a" if name in ("a/1.png", "labels.csv") else tmp_path / name
    text = refusal(lambda: opened(spec, **labels))
    missing = "does not exist" if labels else "is a pipe, a socket or a device, expected a file"
    assert missing in text or "no data" in text


def test_a_file_that_becomes_a_pipe_is_corrupt(tmp_path: Path) -> None:
    source = find(make_folder(tmp_path / "a", {"1.png": png(0)}))
    (tmp_path / "a" / "1.png").unlink()
    os.mkfifo(tmp_path / "a" / "1.png")
    with ends_within(), pytest.raises(CorruptImage, match=r"1\.png is a pipe, a socket"):
        source.read(0)


def test_a_file_that_is_too_large_is_corrupt(tmp_path: Path) -> None:
    source = find(make_folder(tmp_path / "a", {"1.png": png(0)}))
    os.truncate(tmp_path / "a" / "1.png", 1 << 40)
    text = refusal(lambda: source.read(0))
    assert "1.png has 1099511627776 bytes, over 536870912; remove it" in text


def test_folders_that_link_each_other_are_listed_once(tmp_path: Path) -> None:
    """Seven folders with links to each other would have more than 7! paths."""
    for number in range(7):
        make_folder(tmp_path / f"{number}", {"1.png": png(number)})
    for one in range(7):
        for other in range(7):
            (tmp_path / f"{one}" / f"to{other}").symlink_to(tmp_path / f"{other}")
    with ends_within():
        source = opened(tmp_path)
    assert (source.classes, len(source)) == (tuple("0123456"), 7)


def test_a_folder_has_its_own_name_before_that_of_a_link(tmp_path: Path) -> None:
    make_folder(tmp_path / "data" / "z", {"1.png": png(1)})
    make_folder(tmp_path / "far", {"1.png": png(2)})
    for link, to in (("a", "data/z"), ("b", "far"), ("c", "far")):
        (tmp_path / "data" / link).symlink_to(tmp_path / to)
    assert opened(tmp_path / "data").classes == ("b", "z")


@pytest.mark.parametrize("target", ["absent.png", "1.png"])  # nothing; itself
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, target: str) -> None:
    make_folder(tmp_path / "a", {"2.png": png(1)})
    (tmp_path / "a" / "1.png").symlink_to(target)
    text = refusal(lambda: opened(tmp_path / "a"))
    assert "1.png cannot be read" in text


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_DEPTH"])
def test_too_many_or_too_deep_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    make_folder(tmp_path / "a", {"b/c/1.png": png(1), "b/c/2.png": png(1)})
    assert len(opened(tmp_path / "a")) == 2
    monkeypatch.setattr(folder, limit, 1)
    text = refusal(lambda: opened(tmp_path / "a"))
    assert "give another folder, or pack the images into shards" in text


@pytest.mark.parametrize(
    "name", [b"\x1b[2Jred", b"two\nlines", b"\xff\xfe", "right\u202eleft".encode(), b"tab\t"]
)
def test_names_that_would_act_on_a_terminal_are_no_classes(tmp_path: Path, name: bytes) -> None:
    place = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(place)
    for number in (b"1.png", b"2" + name + b".png"):
        with open(os.path.join(place, number), "wb") as file:
            file.write(png(1))
    text = refusal(lambda: opened(tmp_path))
    assert "the name of a class is" in text
    assert "rename it" in text
    source = opened(tmp_path, labels="none")  # names of files may be any, and messages escape them
    assert all(source.path(i).isprintable() for i in range(2))
