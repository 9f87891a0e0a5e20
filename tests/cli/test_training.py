"""freed memory -> the same memory again, without a request to the system."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from adm.app.cli.training import keep_freed_memory

libc, size = ctypes.CDLL(None), 100 * 2**20
libc.malloc.restype = ctypes.c_void_p

def fresh_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
    ctypes.memset(block, 1, size)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh_pages()
default = fresh_pages()
keep_freed_memory()
fresh_pages()
print(default, fresh_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_blocks_are_used_again() -> None:
    printed = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True)
    default, kept = map(int, printed.split())
    assert kept < default / 2  # at least one a huge page of 2 MiB
