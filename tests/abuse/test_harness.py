"""A child that does what no command may -> the harness says so, and how."""

import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from abuse import judge, kills
from abuse.child import MIB, Limits, run
from abuse.disks import own_mounts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc")

SHORT = Limits(seconds=20, memory=100 * MIB)


def refuse(text: str = "adm: no model 'x'; give a path\n", status: int = 2) -> None:
    sys.stderr.write(text)
    sys.exit(status)


def fail() -> None:
    raise KeyError("recipe")


def hold() -> None:
    # A child starts without the pages of files that are resident in its parent (fork(2)).
    files = int(Path(f"/proc/{os.getppid()}/statm").read_text("utf-8").split()[2])
    held = mmap.mmap(-1, 200 * MIB + files * mmap.PAGESIZE)  # from no allocator's cache
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1


@pytest.mark.parametrize(
    ("work", "column"),
    [
        (lambda: None, None),
        (lambda: print("model.safetensors: a diffusion model"), None),
        (refuse, None),
        (lambda: sys.exit(0), None),
        (fail, "tracebacks"),
        (lambda: refuse("adm: x\nTraceback (most recent call last):\n"), "tracebacks"),
        (lambda: sys.exit(3), "wrong exits"),
        (lambda: sys.exit("text"), "wrong exits"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "wrong exits"),
        (lambda: os.abort(), "wrong exits"),
        (hold, "memory"),
        (lambda: refuse(""), "bad lines"),
        (lambda: refuse("no prefix\n"), "bad lines"),
        (lambda: refuse("adm: two\nlines\n"), "bad lines"),
        (lambda: refuse(f"adm: {'x' * 2000}\n"), "bad lines"),
        (lambda: refuse("adm: x\n" * 100), "bad lines"),
        (lambda: refuse("adm: \x1b[31mred\n"), "bad lines"),
        (lambda: refuse("adm: \N{RIGHT-TO-LEFT OVERRIDE}gnp\n"), "bad lines"),
        (lambda: print("class \x1b]0;title\x07"), "bad lines"),
        (lambda: sys.stderr.write("/a/b.py:3: UserWarning: odd\n"), "bad lines"),
    ],
)
def test_how_a_child_ends_is_judged(
    work: Callable[[], object], column: str | None, tmp_path: Path
) -> None:
    outcome = run(work, tmp_path / "logs", SHORT)
    found = judge.faults_of(outcome, SHORT)
    assert [each.column for each in found] == ([] if column is None else [column]), found


def test_a_child_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    limits = Limits(seconds=1)

    def hang() -> None:
        if started := os.fork():
            (tmp_path / "pid").write_text(str(started))
        time.sleep(60)

    outcome = run(hang, tmp_path / "logs", limits)
    assert [each.column for each in judge.faults_of(outcome, limits)] == ["hangs"]
    assert outcome.seconds < 10
    with pytest.raises(ProcessLookupError):
        _wait_for_the_end_of(int((tmp_path / "pid").read_text()))


def _wait_for_the_end_of(pid: int) -> None:
    """Signal a process until it is gone; one that has ended may wait for its parent."""
    for _ in range(500):
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError
        time.sleep(0.01)


def test_an_allocation_beyond_the_limit_fails(tmp_path: Path) -> None:
    outcome = run(lambda: bytearray(1 << 34), tmp_path / "logs", SHORT)
    assert "MemoryError" in outcome.err


@pytest.mark.parametrize(
    ("change", "outputs", "done", "columns"),
    [
        (lambda here: None, (), True, []),
        (lambda here: (here / "out").write_text("x"), ("out",), True, []),
        (lambda here: (here / "out").write_text("x"), ("out",), False, ["files left"]),
        (lambda here: (here / "kept" / "new").write_text("x"), ("kept",), False, []),
        (lambda here: (here / "other").write_text("x"), ("out",), True, ["files left"]),
        (lambda here: (here / ".part").write_text("x"), (), True, ["files left"]),
        (lambda here: (here / "kept" / ".lock").touch(), ("kept",), True, ["files left"]),
        (lambda here: (here / "given").write_text("y"), (), False, ["bytes that differ"]),
        (lambda here: (here / "given").unlink(), ("out",), True, ["bytes that differ"]),
        (lambda here: (here / "link").symlink_to("given"), (), True, ["files left"]),
    ],
)
def test_what_a_command_leaves_is_judged(
    change: Callable[[Path], object],
    outputs: tuple[str, ...],
    done: bool,
    columns: list[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "given").write_text("x")
    before = judge.files_of(tmp_path)
    change(tmp_path)
    found = judge.left_over(before, judge.files_of(tmp_path), outputs, done)
    assert [each.column for each in found] == columns


def test_a_result_that_differs_by_a_byte_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "report.html").write_bytes(b"3 s")
    wanted = judge.files_of(tmp_path)
    assert judge.differing(wanted, judge.files_of(tmp_path)) == []
    (tmp_path / "report.html").write_bytes(b"4 s")
    assert judge.differing(wanted, judge.files_of(tmp_path), ("report.html",)) == []
    (tmp_path / "a").write_bytes(b"abd")
    (tmp_path / "b").touch()
    found = judge.differing(wanted, judge.files_of(tmp_path), ("report.html",))
    assert [each.column for each in found] == ["bytes that differ", "files left"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_process_is_killed_before_the_event_that_is_aimed_at(at: int, tmp_path: Path) -> None:
    def write() -> None:
        kills.watch(tmp_path / "here", at, None)
        os.mkdir(tmp_path / "here" / "folder")
        os.close(os.open(tmp_path / "here" / "new", os.O_WRONLY | os.O_CREAT))
        os.replace(tmp_path / "here" / "new", tmp_path / "here" / "final")

    (tmp_path / "here").mkdir()
    outcome = run(write, tmp_path / "logs")
    assert outcome.status == -signal.SIGKILL
    after = [set(), {"folder"}, {"folder", "new"}]
    assert set(judge.files_of(tmp_path / "here")) == after[at]


def test_a_process_that_takes_mounts_of_its_own_has_them_alone(tmp_path: Path) -> None:
    before = Path("/proc/self/mounts").read_text()
    assert run(own_mounts, tmp_path / "logs").status == 0
    assert Path("/proc/self/mounts").read_text() == before
