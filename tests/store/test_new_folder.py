"""A folder appears with everything in it or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adm.store.files import new_folder, write_bytes


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("older", [None, {}, {"a": b"old"}])
def test_a_folder_appears_with_everything_in_it_or_not_at_all(
    tmp_path: Path, older: dict[str, bytes] | None
) -> None:
    out = tmp_path / "deep" / "out"
    for name, content in (older or {}).items():
        write_bytes(out / name, content)
    if older == {}:
        out.mkdir(parents=True)

    def interrupted() -> None:
        with new_folder(out, replace=True) as folder:
            (folder / "b").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (contents(out) if out.exists() else None) == older
    with new_folder(out, replace=True) as folder:
        (folder / "b").write_bytes(b"new")
        assert (contents(out) if out.exists() else None) == older
    assert contents(out) == {"b": b"new"}
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_folder_is_never_replaced_by_one(
    tmp_path: Path, make: Callable[[Path], None], replace: bool
) -> None:
    make(tmp_path / "out")
    with pytest.raises(FileExistsError, match="already exists and is not empty; give another"):
        new_folder(tmp_path / "out", replace).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_another_process_has_put_there_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def late() -> None:
        with new_folder(out) as folder:
            (folder / "a").write_bytes(b"mine")
            write_bytes(out / "a", b"theirs")

    with pytest.raises(FileExistsError, match="already exists and is not empty"):
        late()
    assert contents(tmp_path) == {"a": b"theirs"}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("for_good", [False, True])
def test_an_older_folder_survives_an_exchange_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    out, rename = tmp_path / "out", Path.rename
    write_bytes(out / "a", b"old")

    def fail(path: Path, target: Path) -> Path:
        if target == out and (for_good or path.name == "new"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"), new_folder(out, replace=True) as folder:
        (folder / "a").write_bytes(b"new")
    assert contents(tmp_path) == {"a": b"old"}
    assert out.exists() != for_good  # where it cannot come back, it is beside its place
