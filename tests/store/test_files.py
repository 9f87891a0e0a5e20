"""A file or folder appears whole or not at all, whatever fails, is killed or writes at once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from adm.store.files import (
    link,
    new_file,
    new_folder,
    work_folder,
    work_path,
    write_bytes,
    write_json,
    write_text,
)
from adm.store.locks import InUse

SIZES = {b"a": 300_000, b"b": 500_000, b"c": 400_000}  # bytes of each of several writers


def child(code: str, *words: str) -> subprocess.Popen[str]:
    header = "import sys\nfrom pathlib import Path\nfrom adm.store.files import *\n"
    start = [sys.executable, "-c", header + code, *words]
    return subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def writer_of(path: Path) -> bytes:
    """The key of the writer whose whole content, and nothing else, a file holds."""
    content = path.read_bytes()
    key = content[:1]
    assert content == key * SIZES[key]
    return key


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("older", [False, True])
def test_an_error_in_the_middle_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, older: bool, error: BaseException
) -> None:
    path = tmp_path / "deep" / "file"
    if older:
        write_bytes(path, b"old")

    def fails() -> None:
        with new_file(path) as part:
            part.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        fails()
    assert contents(tmp_path) == ({"file": b"old"} if older else {})


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "file", "new")
    assert contents(tmp_path) == {"file": b"old"}


def test_a_value_that_cannot_be_written_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\udcff")
    assert contents(tmp_path) == {"file": b'{\n "a": 1\n}\n'}


def test_the_disk_holds_the_content_before_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = os.replace

    def replaced(part: Path, path: Path) -> None:
        done.append("replace")
        replace(part, path)

    monkeypatch.setattr(os, "fsync", lambda handle: done.append(f"{os.fstat(handle).st_size}"))
    monkeypatch.setattr(os, "replace", replaced)
    write_bytes(tmp_path / "file", b"12345")
    assert done == ["5", "replace"]
    write_bytes(tmp_path / "file", b"67", sync=False)
    assert done[2:] == ["replace"]


@pytest.mark.parametrize("name", ["[file]", "x" * 250])
def test_a_killed_writer_leaves_the_old_content_and_hidden_files_which_the_next_removes(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    write_text(path, "old")
    writer = child(
        "with new_file(Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half')\n"
        "    part.with_name('.tmp1234').touch()\n"  # as libraries do
        "    print('half', flush=True)\n"
        "    sys.stdin.read()\n",
        str(path),
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    writer.kill()
    writer.communicate()
    leftovers = [one.name for one in tmp_path.iterdir() if one != path]
    assert leftovers
    assert all(one.startswith(".") for one in leftovers)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert contents(tmp_path) == {name: b"new"}


def test_a_folder_is_restored_if_its_replacement_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with new_folder(path) as folder:
        (folder / "kept").touch()
    start = child(
        "import adm.store.files\n"
        "adm.store.files._take = lambda *_: (print('half', flush=True), sys.stdin.read())\n"
        "with new_folder(Path(sys.argv[1]), replace=True) as folder:\n"
        "    (folder / 'new').touch()\n",
        str(path),
    )
    assert start.stdout is not None
    assert start.stdout.readline() == "half\n"
    start.kill()
    start.communicate()
    assert not path.exists()
    with work_folder(path):
        assert contents(path) == {"kept": b""}
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_work_folder_has_one_holder_and_keeps_its_files(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with work_folder(out) as work:
        assert work == work_path(out)
        with pytest.raises(InUse), work_folder(out):
            pytest.fail("two hold it")
    assert not work.exists()
    with work_folder(out) as work:
        (work / "part").touch()
    with work_folder(out) as work:
        assert [each.name for each in work.iterdir() if each.name != ".lock"] == ["part"]
        with new_folder(out, work=work) as folder:
            (folder / "whole").touch()
    assert [each.name for each in out.parent.iterdir()] == ["out"]


def test_readers_see_whole_files_while_several_write_and_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = (
        "content = sys.argv[2].encode() * int(sys.argv[3])\n"
        "while True:\n    write_bytes(Path(sys.argv[1]), content, sync=False)\n"
    )
    writers = [child(code, str(path), key.decode(), str(size)) for key, size in SIZES.items()]
    observed = set[bytes]()
    while len(observed) < len(SIZES):
        assert all(writer.poll() is None for writer in writers)
        if path.exists():
            observed.add(writer_of(path))
    for writer in writers:
        writer.kill()
        for _ in range(50):
            writer_of(path)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == -signal.SIGKILL
    writer_of(path)
    write_bytes(path, b"a" * SIZES[b"a"])
    assert list(tmp_path.iterdir()) == [path]


def test_threads_of_one_process_do_not_write_into_each_other_s_file(tmp_path: Path) -> None:
    path, barrier = tmp_path / "file", threading.Barrier(len(SIZES))
    failed: list[BaseException] = []

    def act(key: bytes) -> None:
        try:
            barrier.wait()
            for _ in range(20):
                with new_file(path, sync=False) as part, part.open("wb") as file:
                    file.write(key * SIZES[key])
        except BaseException as error:
            failed.append(error)
            barrier.abort()

    threads = [threading.Thread(target=act, args=(key,)) for key in SIZES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    writer_of(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (tmp_path / "plain").touch()
        write_text(tmp_path / "new", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["x" * 255, "犬" * 85, ".hidden", "a b", "-rf"])
def test_every_name_that_a_file_may_have_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "x")
    with new_folder(tmp_path / "folders" / name):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to("there/file")  # which does not exist yet
    for text in ("one", "two"):
        write_text(tmp_path / "here", text)
        assert (tmp_path / "here").is_symlink()
        assert (tmp_path / "there" / "file").read_text() == text
    assert len([*tmp_path.rglob("*")]) == 3


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_text(pipe, "through")
    reader.join(timeout=600)
    assert read == [b"through"]
    assert pipe.is_fifo()


def test_a_folder_in_the_file_s_place_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=tmp_path.name), new_file(tmp_path):
        pytest.fail("the block ran")


def test_a_link_changes_in_one_step_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    for target in ("one", "two"):
        link(tmp_path / "best", target)
        assert os.readlink(tmp_path / "best") == target
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="Input/output"):
        link(tmp_path / "best", "three")
    assert os.readlink(tmp_path / "best") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


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
def test_a_file_or_pipe_is_never_replaced_by_a_folder(
    tmp_path: Path, make: Callable[[Path], None], replace: bool
) -> None:
    make(tmp_path / "out")
    with pytest.raises(FileExistsError, match="already exists and is not empty; give another"):
        new_folder(tmp_path / "out", replace).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_another_process_creates_meanwhile_stays(tmp_path: Path) -> None:
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
    assert out.exists() != for_good  # if it cannot be restored, it stays next to its place
