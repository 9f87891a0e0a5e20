"""Standard output and error -> streams that escape control characters, and outlive readers."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from adm.shown import printable_lines

PLAIN = str.maketrans({"█": "#", "…": "..."})  # where the encoding lacks them


class Lasting:
    """A stream that never fails: after an error of the system, what is written is discarded.

    The work that is reported on goes on if a reader such as `head` has ended, or if the disk that
    holds the output is full.

    Attributes:
        failure: the first error; None if all could be written.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.failure = stream, cast("OSError | None", None)

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


class Escaping:
    """A stream that escapes characters on which a terminal would act, all but newline and tab.

    rich, which writes such characters itself, finds the stream beneath as `rich_proxied_file`.
    """

    def __init__(self, beneath: Lasting) -> None:
        self.rich_proxied_file = beneath
        self._plain = not _is_unicode(beneath.stream)

    def write(self, text: str) -> int:
        # A progress bar of another library starts with this character, which then acts on no text.
        start = "\r" if text.startswith("\r") else ""
        shown = start + printable_lines(text[len(start) :])
        return self.rich_proxied_file.write(shown.translate(PLAIN) if self._plain else shown)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def terminal() -> Iterator[Lasting]:
    """Let standard output and error be such streams; yield that of standard output."""
    before = sys.stdout, sys.stderr
    out, error = (Lasting(_encodes_all(each)) for each in before)
    sys.stdout, sys.stderr = cast(TextIO, Escaping(out)), cast(TextIO, Escaping(error))
    try:
        yield out
    finally:
        out.flush()
        error.flush()
        sys.stdout, sys.stderr = before


def open_standard_streams() -> None:
    """Let a process that was started with closed streams read and write nothing there.

    Otherwise the next file that it opens would take the place of standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r+" if number else "r", closefd=False))  # noqa: SIM115


def _is_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _encodes_all(stream: TextIO) -> TextIO:
    """Let a stream escape characters that its encoding lacks, instead of failing."""
    if hasattr(stream, "reconfigure"):
        cast(Any, stream).reconfigure(errors="backslashreplace")
    return stream
