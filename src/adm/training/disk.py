"""Exception of a failed write -> OSError that names the loss and the cure."""

import errno
import re

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NUMBER = re.compile(r"(?:code: |os error )(\d+)")  # as safetensors puts it, in words only


def unwritten(what: str, error: Exception, more: str = "") -> OSError:
    """What to raise where a file cannot be written.

    Args:
        what: was to be written.
        error: of the system or of safetensors.
        more: about what there is in its place.
    """
    number = getattr(error, "errno", None)
    if number is None:
        told = NUMBER.search(str(error))
        number = int(told[1]) if told else errno.EIO
    cure = "free some space" if number in FULL else "mend that"
    return OSError(
        number, f"{what} was not written ({error}){more}; {cure}, and the same command continues"
    )
