"""() -> bool: keep the memory that a training step frees for the next step.

glibc hands large blocks back to the system as soon as they are free, and a step on a CPU then
waits for thousands of fresh pages, each of them cleared, where the same pages would have done.
"""

import ctypes
import platform

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
NEVER = 2**31 - 1  # bytes, the most that mallopt can be told
SIZES = (2**30, 2**25)  # the second is all that older versions of glibc take


def keep_freed_memory() -> bool:
    """Keep freed blocks, up to 1 GiB each, for later ones of this process.

    It changes no number, and hardly the most memory that a run ever holds.

    Returns:
        Whether it could be done; only glibc, on Linux, can be told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    tell = ctypes.CDLL(None).mallopt
    return bool(tell(TRIM, NEVER)) and any(tell(MMAP, size) for size in SIZES)
