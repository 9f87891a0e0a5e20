"""Standard output and error -> streams that outlive their readers."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class Lasting:
    """A stream that never fails: after an error of the system, what is written is discarded.

    The work that is reported on goes on if a reader such as `tee` has ended by the Ctrl-C that asks
    a run to save, if the terminal was closed, or if the disk that holds the output is full.
    Characters that its encoding lacks are escaped.

    Attributes:
        failure: the first error; None if all could be written.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.failure = stream, cast("OSError | None", None)
        if hasattr(stream, "reconfigure"):
            cast(Any, stream).reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self.stream.write(text)
            except OSError as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self.stream.flush()
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = error
        with suppress(OSError):  # not a file; else what is buffered would fail when Python exits
            empty = os.open(os.devnull, os.O_WRONLY)
            os.dup2(empty, self.stream.fileno())
            os.close(empty)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def lasting_streams() -> Iterator[Lasting]:
    """Let standard output and error be such streams; yield that of standard output."""
    before = sys.stdout, sys.stderr
    out, error = map(Lasting, before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, error)
    try:
        yield out
    finally:
        out.flush()
        error.flush()
        sys.stdout, sys.stderr = before
