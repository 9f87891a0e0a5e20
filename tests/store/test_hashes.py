"""SHA256SUMS of a folder detects each file that has changed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from adm.store.hashes import SUMS, damaged_parts, read_sums, seal, sha256

NAMES = ["a", "b/c d.png", "é"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    for name in NAMES:
        (tmp_path / name).write_text(f"content of {name}")
    seal(tmp_path)
    seal(tmp_path)  # again, without its own list
    return tmp_path


def test_a_folder_is_as_it_was_written(folder: Path) -> None:
    assert damaged_parts(folder) == []
    assert read_sums(folder) == {name: sha256(folder / name) for name in NAMES}
    if tool := shutil.which("sha256sum"):
        subprocess.run([tool, "-c", "--quiet", SUMS], cwd=folder, check=True)


def test_each_change_is_named(folder: Path) -> None:
    one, other, last = (folder / name for name in NAMES)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)  # swapped
    assert damaged_parts(folder) == NAMES[:2]
    last.unlink()
    assert damaged_parts(folder, NAMES[2:]) == NAMES[2:]


def test_a_file_that_is_not_listed_is_vouched_for_by_nothing(folder: Path) -> None:
    (folder / "new").touch()
    assert damaged_parts(folder, ["new"]) == ["new"]
    (folder / SUMS).unlink()
    assert damaged_parts(folder, ["new"]) == []  # a folder of an earlier version


@pytest.mark.parametrize(
    "line",
    [
        b"abc  a",
        b"0" * 64 + b" a",
        b"0" * 64 + b"  ../a",
        b"0" * 64 + b"  /etc/passwd",
        b"\xff" * 64 + b"  a",
        b"0" * 64 + b"  a",  # a second time
        b"0" * 64 + b"  a\x1b[2J",
    ],
)
def test_a_damaged_list_is_refused(folder: Path, line: bytes) -> None:
    with (folder / SUMS).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ValueError, match="is damaged in line 4"):
        damaged_parts(folder)


def test_a_link_in_the_place_of_the_list_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / SUMS).rename(folder / "moved")
    (folder / SUMS).symlink_to("moved")
    with pytest.raises(ValueError, match="is a link"):
        damaged_parts(folder)
