"""Folder to write to, flag -> OSError if no file can be created in it."""

import tempfile
from pathlib import Path


def writable(folder: Path, flag: str) -> None:
    """Raise OSError unless a file can be created in a folder, or in its first parent that exists.

    Only creating one shows it: file systems may be read-only, full or of the system.
    """
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror}); choose another {flag}"
        ) from None
