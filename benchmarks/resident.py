"""Process -> its resident memory in bytes: current, peak."""

import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Return the resident memory of this process on Linux, and 0 on other systems."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * resource.getpagesize() if path.exists() else 0


def peak_bytes() -> int:
    """Return the peak resident memory of this process.

    `getrusage` is used only without /proc. On Linux its ru_maxrss survives exec, so that a process
    starts with the peak of its parent (man 2 getrusage); VmHWM belongs to the program itself (man 5
    proc).
    """
    path = Path("/proc/self/status")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
