"""Verb, room -> it is run on a disk that fills up, and again after there is room.

The disk is a tmpfs in a mount namespace of this process, which needs no rights where the system
lets users have namespaces. Where it does not, RLIMIT_FSIZE limits the size of each file instead.
"""

import ctypes
import os
import re
import resource
import signal
import subprocess
from functools import cache
from pathlib import Path

from abuse.bench import Bench, Result, Row
from abuse.judge import Fault, faults_of, files_of
from abuse.verbs import VERBS, Whole, compared, prepare

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # of unshare(2)
ROOM = "256m"
SAYS = re.compile(r"space|disk|full|too large", re.IGNORECASE)
EACH = 3  # trials of each verb


class Disks:
    """Trials of commands on full disks."""

    def __init__(self, whole: dict[str, Whole]) -> None:
        self.whole = whole

    def rows(self) -> dict[str, Row]:
        """Return the row of the table."""
        return {"full disks": Row(self.trial, EACH * len(VERBS))}

    def trial(self, bench: Bench, row: str, number: int) -> Result:
        """Fill the disk before a verb has written all, then make room."""
        names, random = list(VERBS), bench.random(row, number)
        name = names[number % len(names)]
        folder, verb, whole = bench.folder(row, number), VERBS[name], self.whole[name]
        mounted = own_mounts() and _mount(folder, ROOM)
        share = random.uniform(0.02, 0.95)
        try:
            for each in ("cache", "home"):
                (folder / each).mkdir(exist_ok=True)
            prepare(bench, folder, verb)
            before = files_of(folder)
            if mounted:
                _mount(folder, f"{_used(folder) + int(share * whole.written) // 4096 * 4096}")
            limit = None if mounted else _limited(max(1, int(share * 8192)))
            full = bench.start(folder, ("-q", *verb.words), limit or _nothing, "full").wait()
            faults = faults_of(full, bench.limits) + _told(full.status, full.err)
            if any(files_of(folder).get(path) != held for path, held in before.items()):
                faults.append(Fault("bytes that differ", "what was there before was changed"))
            if mounted:
                _mount(folder, ROOM)
            again = bench.start(folder, ("-q", *verb.words), name="again").wait()
            faults += faults_of(again, bench.limits, allowed=(0,))
            if again.status == 0:
                faults += compared(name, whole, folder)
            faults = [Fault(column, f"{name}: {what}") for column, what in faults]
            if faults:
                bench.keep(folder, {"seed": bench.seed, "room": share, "faults": faults})
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(folder)], check=False)
        bench.done(folder)
        note = "" if mounted else "RLIMIT_FSIZE stood for a full disk"
        if full.status == 0:
            note = f"{name} had room"
        return Result(faults, (full.status, again.status), note)


def _told(status: int, printed: str) -> list[Fault]:
    """Return faults of what a command says that found no room."""
    lines = printed.splitlines()
    if status != 2:
        return []
    if len(lines) != 1:
        return [Fault("bad lines", f"{len(lines)} lines: {printed[:300]!r}")]
    if not SAYS.search(lines[0]):
        return [Fault("bad lines", f"does not name the disk: {lines[0][:300]!r}")]
    return []


def _nothing() -> None:
    pass


def _limited(size: int):  # type: ignore[no-untyped-def]
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@cache
def own_mounts() -> bool:
    """Give this process mounts of its own, and return whether it has them."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS) != 0:
        if libc.unshare(NEW_USER | NEW_MOUNTS) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    private = ["mount", "--make-rprivate", "/"]
    return subprocess.run(private, capture_output=True, check=False).returncode == 0


def _mount(folder: Path, size: str) -> bool:
    """Mount a disk of this size, or change the size of the one that is mounted."""
    options = f"size={size}" + (",remount" if os.path.ismount(folder) else "")
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _used(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
