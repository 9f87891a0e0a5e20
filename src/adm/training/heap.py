"""() -> bool: keep the memory that a training step frees for the next step.

glibc returns large blocks to the system as soon as they are freed. A training step on a CPU then
waits for thousands of new pages, which the kernel clears, although the freed ones would do.
"""

import ctypes
import platform

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
NEVER = 2**31 - 1  # bytes, the largest int that mallopt takes
SIZES = (2**30, 2**25)  # older versions of glibc accept only the second


def keep_freed_memory() -> bool:
    """Keep freed blocks of up to 1 GiB for later allocations of this process.

    This changes no number, and the peak memory of a run by little.

    Returns:
        Whether the allocator was configured, which only glibc on Linux supports.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    tell = ctypes.CDLL(None).mallopt
    return bool(tell(TRIM, NEVER)) and any(tell(MMAP, size) for size in SIZES)
