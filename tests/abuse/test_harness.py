"""A child that does what no command may -> the harness names the fault."""

import mmap
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from abuse import judge
from abuse.child import MIB, Limits, run

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
    memory = mmap.mmap(-1, 200 * MIB + files * mmap.PAGESIZE)  # from no allocator's cache
    for page in range(0, len(memory), mmap.PAGESIZE):
        memory[page] = 1


@pytest.mark.parametrize(
    ("work", "column"),
    [
        (lambda: None, None),
        (refuse, None),
        (fail, "tracebacks"),
        (lambda: refuse("adm: x\nTraceback (most recent call last):\n"), "tracebacks"),
        (lambda: sys.exit(3), "wrong exits"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "wrong exits"),
        (hold, "memory"),
        (lambda: refuse(""), "bad lines"),
        (lambda: refuse(f"adm: {'x' * 2000}\n"), "bad lines"),
        (lambda: refuse("adm: x\n" * 100), "bad lines"),
        (lambda: refuse("adm: \x1b[31mred\n"), "bad lines"),
        (lambda: print("class \x1b]0;title\x07"), "bad lines"),
        (lambda: sys.stderr.write("/a/b.py:3: UserWarning: odd\n"), "bad lines"),
    ],
)
def test_how_a_child_ends_is_judged(
    work: Callable[[], object], column: str | None, tmp_path: Path
) -> None:
    outcome = run(work, tmp_path / "logs", SHORT)
    faults = judge.faults_of(outcome, SHORT)
    assert [fault.column for fault in faults] == ([] if column is None else [column]), faults


@pytest.mark.parametrize(
    ("change", "outputs", "done", "columns"),
    [
        (lambda folder: None, (), True, []),
        (lambda folder: (folder / "out").write_text("x"), ("out",), True, []),
        (lambda folder: (folder / "out").write_text("x"), ("out",), False, ["files left"]),
        (lambda folder: (folder / "kept" / "new").write_text("x"), ("kept",), False, []),
        (lambda folder: (folder / "other").write_text("x"), ("out",), True, ["files left"]),
        (lambda folder: (folder / ".part").write_text("x"), (), True, ["files left"]),
        (lambda folder: (folder / "kept" / ".lock").touch(), ("kept",), True, ["files left"]),
        (lambda folder: (folder / "given").write_text("y"), (), False, ["bytes that differ"]),
        (lambda folder: (folder / "given").unlink(), ("out",), True, ["bytes that differ"]),
        (lambda folder: (folder / "link").symlink_to("given"), (), True, ["files left"]),
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
    faults = judge.left_over(before, judge.files_of(tmp_path), outputs, done)
    assert [fault.column for fault in faults] == columns


def test_a_difference_of_a_byte_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "report.html").write_bytes(b"3 s")
    expected = judge.files_of(tmp_path)
    assert judge.differing(expected, judge.files_of(tmp_path)) == []
    (tmp_path / "report.html").write_bytes(b"4 s")
    assert judge.differing(expected, judge.files_of(tmp_path), ("report.html",)) == []
    (tmp_path / "a").write_bytes(b"abd")
    (tmp_path / "b").touch()
    faults = judge.differing(expected, judge.files_of(tmp_path), ("report.html",))
    assert [fault.column for fault in faults] == ["bytes that differ", "files left"]
