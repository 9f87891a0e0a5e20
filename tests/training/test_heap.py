"""freed memory -> the same memory again, without asking the system for it."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from adm.app.cli.training import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc, size = ctypes.CDLL(None), 100 * 2**20
libc.malloc.restype = ctypes.c_void_p

def fill_and_free():
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
    ctypes.memset(block, 1, size)
    libc.free(block)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

fill_and_free()
before = faults()
fill_and_free()
print(faults() - before)
"""


def fresh_pages(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_blocks_are_had_again():
    left, kept = fresh_pages("leave"), fresh_pages("keep")
    assert left > 20 > kept  # at least one a huge page of 2 MiB
