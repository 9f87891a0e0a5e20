"""Verb, room -> it is run on a disk that fills up, and again with enough room.

The disk is a tmpfs in a mount namespace of this process, which needs no rights where the system
lets users have namespaces. Where it does not, nothing is tried.
"""

import ctypes
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from random import Random

from abuse.bench import Bench, Result, Row
from abuse.judge import Fault, faults_of, files_of
from abuse.verbs import VERBS, compared, prepare

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # of unshare(2)
ROOM = "256m"
NAMES_DISK = re.compile(r"space|disk|full|too large", re.IGNORECASE)
EACH = 3  # trials of each verb


def rows() -> dict[str, Row]:
    """Return the row of the table."""
    return {"full disks": Row(trial, EACH * len(VERBS))}


def trial(bench: Bench, random: Random, number: int, folder: Path) -> Result:
    """Fill the disk before a verb has written all, then make room."""
    names = list(VERBS)
    name = names[number % len(names)]
    verb = VERBS[name]
    if not (own_mounts() and mount(folder, ROOM)):
        return Result([], (), name, "the system does not let this user mount a disk")
    share = random.uniform(0.02, 0.95)
    for each in ("cache", "home"):
        (folder / each).mkdir(exist_ok=True)
    prepare(bench, folder, verb)
    before = files_of(folder)
    mount(folder, f"{used(folder) + int(share * bench.whole[name].written) // 4096 * 4096}")
    full = bench.start(folder, ("-q", *verb.words), name="full").wait()
    faults = faults_of(full, bench.limits) + _message_faults(full.status, full.err)
    if any(files_of(folder).get(path) != digest for path, digest in before.items()):
        faults.append(Fault("bytes that differ", "what was there before was changed"))
    mount(folder, ROOM)
    again = bench.start(folder, ("-q", *verb.words), name="again").wait()
    faults += faults_of(again, bench.limits, allowed=(0,))
    if again.status == 0:
        faults += compared(bench, name, folder)
    note = f"{name} had room" if full.status == 0 else ""
    return Result(faults, (full.status, again.status), f"{name} in {share:.2f}", note)


def _message_faults(status: int, printed: str) -> list[Fault]:
    """Return the faults of the message of a command that found no room."""
    lines = printed.splitlines()
    if status != 2:
        return []
    if len(lines) != 1:
        return [Fault("bad lines", f"{len(lines)} lines: {printed[:300]!r}")]
    if not NAMES_DISK.search(lines[0]):
        return [Fault("bad lines", f"does not name the disk: {lines[0][:300]!r}")]
    return []


@cache
def own_mounts() -> bool:
    """Give this process its own mounts; return whether it has them."""
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


def mount(folder: Path, size: str) -> bool:
    """Mount a disk of this size, or resize the mounted one."""
    options = f"size={size}" + (",remount" if os.path.ismount(folder) else "")
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def used(folder: Path) -> int:
    """Return the used bytes of the disk of a folder."""
    stat = os.statvfs(folder)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize
