"""freed memory -> the same memory again, without asking the system for it."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from adm.training.heap import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

np.ones(25 * 2**20, np.float32)  # 100 MiB, and free again
before = faults()
for _ in range(3):
    np.ones(25 * 2**20, np.float32)
print(faults() - before)
"""


def fresh_pages(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_blocks_are_had_again():
    assert fresh_pages("leave") > 1000
    assert fresh_pages("keep") < 500
