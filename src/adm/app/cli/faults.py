"""OSError, cure -> a sentence: the path, what the system refused, and what to do about it."""

import errno
import os
import tempfile
from pathlib import Path

from adm.store.files import of_system

# {it}: the path. {again}: how the command goes on.
SENTENCES = {
    errno.ENOSPC: "the disk that holds {it} is full; free space, then {again}",
    errno.EDQUOT: "the quota of the disk that holds {it} is used up; free space, then {again}",
    errno.EFBIG: "{it} is larger than its file system permits; choose another disk",
    errno.EROFS: "{it} is on a disk that is read-only; choose another path",
    errno.EACCES: "{it}: permission denied; change its permissions, or choose another path",
    errno.EPERM: "{it}: permission denied; change its permissions, or choose another path",
    errno.ENAMETOOLONG: "{it} is too long a path; choose a shorter one",
    errno.ELOOP: "{it} is a link that leads to itself; remove the link, or choose another path",
    errno.ENOENT: "{it} does not exist; check the path",
    errno.ENOTDIR: "{it} is, or is in, a file where a folder is needed; choose another path",
    errno.EISDIR: "{it} is a folder where a file is needed; choose another path",
    errno.EEXIST: "{it} already exists; remove it, or choose another path",
    errno.ENOTEMPTY: "{it} is a folder that is not empty; choose another path",
    errno.EMFILE: "too many files are open; raise the limit with `ulimit -n 4096`, then {again}",
    errno.ENFILE: "the machine has too many open files; end other programs, then {again}",
    errno.EIO: "the disk that holds {it} failed to read or write; check the disk, then {again}",
    errno.ETXTBSY: "{it} is a program that is running; end it, or choose another path",
    errno.EBUSY: "{it} is in use by the system; choose another path",
    errno.ESTALE: "{it} is on a network disk that has lost it; mount the disk again, then {again}",
    errno.ESPIPE: "{it} is a pipe, in which a file cannot be written; choose another path",
    errno.ENXIO: "{it} is no file that can be opened; choose another path",
    errno.ENODEV: "{it} is no file that can be opened; choose another path",
    errno.EINVAL: "{it} is no path that the file system permits; choose another one",
    errno.EPIPE: "{it} is a pipe whose reader has ended; choose another path",
    errno.ENOMEM: "the memory is full; end other programs, then {again}",
}
NO_TEMPORARY_FOLDER = "No usable temporary directory"
ELSEWHERE = (
    "the disk that holds temporary files, {it}, is full; free space, or set TMPDIR to a folder on "
    "another disk, then {again}"
)
FULL = (errno.ENOSPC, errno.EDQUOT)
UNNAMED = "a file of this command"


def sentence(error: OSError, again: str) -> str:
    """Describe an error of the system; a message that says more than the system does stays.

    Args:
        again: how the command goes on, as in "run the same command again to resume".
    """
    if NO_TEMPORARY_FOLDER in str(error):
        return f"no folder for temporary files can be written; set TMPDIR to one, then {again}"
    if not of_system(error):
        return str(error) if error.errno is None else str(error.strerror)
    path = error.filename2 if error.filename2 is not None else error.filename
    it = UNNAMED if path is None else os.fsdecode(path) if isinstance(path, bytes) else str(path)
    if error.errno in FULL and _is_temporary(it):
        return ELSEWHERE.format(it=it, again=again)
    known = SENTENCES.get(error.errno or 0)
    if known is None:
        return f"{it}: {str(error.strerror).lower()}; resolve that error, then {again}"
    return known.format(it=it, again=again)


def _is_temporary(path: str) -> bool:
    """Whether a path is the folder of temporary files, and not only in it, as an --out may be."""
    return Path(path) == Path(tempfile.gettempdir())
