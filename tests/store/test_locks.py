"""A folder is locked by one living process, and free again however it ends."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from adm.store.locks import FILE, InUse, locked

HOLDER = """
import sys
from pathlib import Path
from adm.store.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def lock_elsewhere(folder: Path) -> subprocess.Popen[str]:
    start = [sys.executable, "-c", HOLDER, str(folder)]
    holder = subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    holder = lock_elsewhere(folder)
    with pytest.raises(InUse, match="run is in use by another process; wait"), locked(folder):
        pass
    holder.kill()
    holder.communicate()
    with locked(folder):  # the killed process has released it
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("written", [False, True])
def test_a_folder_is_created_and_stays_if_it_is_written_to(tmp_path: Path, written: bool) -> None:
    folder = tmp_path / "runs" / "new"
    with locked(folder):
        assert folder.is_dir()
        if written:
            (folder / "file").write_text("")
    assert folder.exists() == written


def test_a_folder_that_its_last_holder_removes_meanwhile_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, acquire, removed = tmp_path / "work", FileLock.acquire, []

    def acquire_late(lock: FileLock, *args: object, **options: object) -> object:
        if not removed:  # between the library's own look at the folder and its file's opening
            removed.append(folder.rmdir())
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / FILE))
        return acquire(lock, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FileLock, "acquire", acquire_late)
    with locked(folder):
        assert (folder / FILE).exists()
    assert removed
    assert not folder.exists()


def test_an_existing_empty_folder_stays(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda place: place.write_text("a file"), "File exists"),
        (lambda place: place.symlink_to(place.name), "File exists"),
        (lambda place: place.symlink_to("absent"), "File exists"),
        (lambda place: (place / FILE).mkdir(parents=True), "Is a directory"),
    ],
)
def test_a_path_that_cannot_be_locked_is_refused_with_the_cure(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    place = tmp_path / "run"
    make(place)
    refused = pytest.raises(OSError, match=rf"run cannot be written to \({reason}\); make")
    with refused as raised, locked(place):
        pass
    assert raised.value.errno


def test_a_link_in_place_of_the_lock_leaves_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).symlink_to("../letter")
    with pytest.raises(OSError, match="cannot be written to"), locked(tmp_path / "run"):
        pass
    assert (tmp_path / "letter").read_text() == "years of work"


def test_of_two_in_one_process_one_holds_it(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(InUse), locked(tmp_path):
            pass
        assert (tmp_path / FILE).exists()
    with locked(tmp_path):
        pass


def test_an_error_releases_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


def test_locks_of_files_that_a_killed_process_has_left_go_with_the_next_holder(
    tmp_path: Path,
) -> None:
    (tmp_path / ".left.lock").touch()
    with locked(tmp_path, ".held.lock"):
        with locked(tmp_path):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [".held.lock"]
