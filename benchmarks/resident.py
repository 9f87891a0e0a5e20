"""a process -> the bytes it holds in memory, now and at most."""

import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """What this process holds; Linux alone tells, and elsewhere memory counts from nothing."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * resource.getpagesize() if path.exists() else 0


def peak_bytes() -> int:
    """The most that this process has held.

    `getrusage` is asked only where /proc tells nothing: on Linux its ru_maxrss survives exec, so
    that a process starts with the peak of the one that made it (man 2 getrusage; VmHWM, in man 5
    proc, belongs to the program itself).
    """
    path = Path("/proc/self/status")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
