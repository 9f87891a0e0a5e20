"""Environment, cores -> the environment that OpenMP reads: number of threads, length of spinning.

torch computes on a CPU with OpenMP, whose threads meet at a barrier after every operation. There,
GNU's OpenMP spins for 300,000 iterations (about 10 ms) before it sleeps, and LLVM's for 200 ms.
Where other work occupies one of the cores, the thread that the others wait for is not running, and
every barrier costs that time. A short spin catches nearly every barrier of an idle machine, and
costs little where it does not; on a machine under load, a shorter one costs less. The length of
spinning changes no result.

OpenMP reads its environment once, when torch is loaded, so that `configure` comes before. Only the
command line calls it; a program that uses the library has its own threads.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SPINS = 7000  # iterations, 0.1 ms to 0.4 ms by processor
SPINS_UNDER_LOAD = 1000  # where other work occupies cores that the threads need
MOST_THREADS = 1024  # more than the system would start
BLOCK_TIME = 1  # ms, the shortest of LLVM's runtime that is not zero
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of the container
LOAD = Path("/proc/loadavg")


class Cores(NamedTuple):
    """The cores of this machine: those that this process may use, all, and those in use."""

    usable: int
    present: int
    busy: int


def configure(threads: int | None = None) -> None:
    """Set what OpenMP reads from this process's environment, which its children inherit.

    Once torch is loaded, its threads belong to whoever loaded it: only `threads` is then applied.

    Args:
        threads: number of threads of an operation; by default `OMP_NUM_THREADS`, or one for each
            core that this process may use.

    Raises:
        ValueError: `threads` is less than 1, or more than any machine runs.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"--threads must be in 1..{MOST_THREADS}, got {threads}")
    if torch := sys.modules.get("torch"):
        if threads is not None:
            torch.set_num_threads(threads)
        return
    cores = Cores(usable_cores(), os.cpu_count() or 1, busy_cores())
    os.environ.update(variables(os.environ, cores, threads))


def variables(
    environment: Mapping[str, str], cores: Cores, threads: int | None = None
) -> dict[str, str]:
    """Return the variables to set, leaving those that the user has set.

    Args:
        environment: that of this process.
        threads: as in `configure`; overrides the environment.
    """
    chosen = {}
    if not any(name in environment for name in WAITING):
        spins = SPINS if cores.usable + cores.busy <= cores.present else SPINS_UNDER_LOAD
        chosen |= {"GOMP_SPINCOUNT": str(spins), "KMP_BLOCKTIME": str(BLOCK_TIME)}
    local_world = environment.get("LOCAL_WORLD_SIZE", "1")  # processes that a launcher starts here
    share = max(cores.usable // max(int(local_world) if local_world.isdecimal() else 1, 1), 1)
    if threads is not None:
        chosen |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    elif "OMP_NUM_THREADS" not in environment and share < cores.present:
        chosen |= {"OMP_NUM_THREADS": str(share)}
    return chosen


def usable_cores(quota: Path = QUOTA) -> int:
    """Return how many cores this process may use, by its affinity and its container's quota.

    A quota counts in whole cores, rounded down: past it, all threads are stopped at once.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        allowed, period = map(int, quota.read_text().split())
    except (OSError, ValueError):  # no container, or "max"
        return cores
    return max(min(cores, allowed // period), 1)


def busy_cores(load: Path = LOAD) -> int:
    """Return how many threads of other processes run, now: averages would count those that ended.

    The least of three readings leaves out what woke for a moment. Zero where there is no /proc.
    """
    readings = []
    for _ in range(3):
        try:
            running, _ = load.read_text().split()[3].split("/")
        except OSError:
            return 0
        readings.append(int(running) - 1)
        time.sleep(0.002)
    return max(min(readings), 0)
