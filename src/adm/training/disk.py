"""Exception of a failed write -> OSError that names the loss and the cure."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from adm.store.files import FULL

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
CURES = dict.fromkeys(FULL, "free disk space") | dict.fromkeys(
    DENIED, "make it writable, or choose another folder,"
)
# safetensors states the error number in its message only.
NUMBER = re.compile(r"(?:code: |os error )(\d+)")


def unwritten(what: str, error: Exception, more: str = "") -> OSError:
    """Return the error to raise when a file cannot be written.

    Args:
        what: the name of what could not be written.
        error: the error that the system or safetensors raised.
        more: text on what exists instead, appended to the first sentence.
    """
    number = getattr(error, "errno", None)
    if number is None:
        told = NUMBER.search(str(error))
        number = int(told[1]) if told else errno.EIO
    cure = CURES.get(number, "resolve that error")
    return OSError(number, f"{what} was not written ({error}){more}; {cure} and try again")


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise an error of the system in the block as that of `what`, which is being written."""
    try:
        yield
    except OSError as error:
        raise unwritten(what, error) from None
