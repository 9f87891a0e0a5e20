"""freed memory -> the same memory again, without a request to the system."""

import platform

import launch
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
assert keep_freed_memory()
fresh_pages()
print(default, fresh_pages(), flush=True)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_blocks_are_reused(tmp_path):
    printed = launch.finish(launch.command(tmp_path, ["--version"], before=PROGRAM))
    default, retained = map(int, printed.split()[:2])
    assert default > 20 > retained  # at least one a huge page of 2 MiB
