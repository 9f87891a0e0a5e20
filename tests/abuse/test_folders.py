"""Folders with special files, circular links and names of any kind: one line, or a listing."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from abuse.refused import refusal
from data.test_archives import make_folder, png

from adm.data import Source, folder, open_source


def opened(path: Path, **how: str) -> Source:
    source = open_source(str(path), size=(4, 4), **how)
    source.batch(range(len(source)))
    return source


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_suffix(".pipe"))
    path.symlink_to(path.with_suffix(".pipe"))


def bound(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have 108 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(before)


@pytest.mark.parametrize("make", [os.mkfifo, linked_pipe, endless, bound])
@pytest.mark.parametrize("name", ["a/1.png", "set.tar", "set.zip", "set.npz", "labels.csv"])
def test_special_files_are_refused(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    make_folder(tmp_path / "a", {"2.png": png(0)})
    make(tmp_path / name)
    labels = {"labels": str(tmp_path / name)} if name == "labels.csv" else {}
    spec = tmp_path / "a" if name in ("a/1.png", "labels.csv") else tmp_path / name
    assert refusal(lambda: opened(spec, **labels)) is not None


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", {"1.png": png(0)})
    os.truncate(tmp_path / "a" / "1.png", 1 << 40)
    assert refusal(lambda: opened(tmp_path / "a")) is not None


def test_folders_that_link_each_other_are_listed_once(tmp_path: Path) -> None:
    """Seven folders with links to each other would have more than 7! paths."""
    for number in range(7):
        make_folder(tmp_path / f"{number}", {"1.png": png(number)})
    for one in range(7):
        for other in range(7):
            (tmp_path / f"{one}" / f"to{other}").symlink_to(tmp_path / f"{other}")
    source = opened(tmp_path)
    assert (source.classes, len(source)) == (tuple("0123456"), 7)


@pytest.mark.parametrize("target", ["absent.png", "1.png"])  # nothing; itself
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, target: str) -> None:
    make_folder(tmp_path / "a", {"2.png": png(1)})
    (tmp_path / "a" / "1.png").symlink_to(target)
    assert "1.png cannot be read" in (refusal(lambda: opened(tmp_path / "a")) or "")


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_DEPTH"])
def test_too_many_or_too_deep_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    make_folder(tmp_path / "a", {"b/c/1.png": png(1), "b/c/2.png": png(1)})
    assert len(opened(tmp_path / "a")) == 2
    monkeypatch.setattr(folder, limit, 1)
    assert refusal(lambda: opened(tmp_path / "a")) is not None


@pytest.mark.parametrize(
    "name", [b"\x1b[2Jred", b"two\nlines", b"\xff\xfe", "right\u202eleft".encode()]
)
def test_names_that_would_act_on_a_terminal_are_no_classes(tmp_path: Path, name: bytes) -> None:
    place = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(place)
    with open(os.path.join(place, b"2" + name + b".png"), "wb") as file:
        file.write(png(1))
    assert "the name of a class is" in (refusal(lambda: opened(tmp_path)) or "")
    source = opened(tmp_path, labels="none")  # names of files may be any, and messages escape them
    assert source.path(0).isprintable()
