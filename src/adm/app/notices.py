"""str -> a line on standard error or output, unless notices are switched off.

Notices accompany a command: progress, files that were written, warnings of a run. Requested results
and errors are not notices.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from adm.shown import printable_lines

_quiet = False


@contextmanager
def quieted(on: bool = True) -> Iterator[None]:
    """Switch notices off in the block, or on, and afterwards back to what they were."""
    global _quiet
    before, _quiet = _quiet, on
    try:
        yield
    finally:
        _quiet = before


def quiet() -> bool:
    """Return whether notices are switched off."""
    return _quiet


class _Notices(logging.Handler):
    """Prints what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        notice(record.getMessage())


@contextmanager
def of_library() -> Iterator[None]:
    """Print in the block what the library logs, from information to errors, as notices."""
    logger, handler = logging.getLogger("adm"), _Notices()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def notice(line: str, to: TextIO | None = None) -> None:
    """Print a line to a stream, by default standard error, unless notices are switched off."""
    if not _quiet:
        print(printable_lines(line), file=sys.stderr if to is None else to, flush=True)


def silence_hub(progress: bool) -> None:
    """Keep `huggingface_hub` from printing more than progress in a terminal, for this process.

    It reads these variables when it is imported. Those that the user has set stay.

    Args:
        progress: whether to suppress progress as well.
    """
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if progress or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def silence_pillow() -> None:
    """Keep Pillow from printing, for this process.

    It warns of sizes that are checked here and of metadata that are not used, and logs what it
    raises. In threads, warnings.catch_warnings() would not be safe.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
