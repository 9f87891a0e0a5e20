"""An action on files of others -> its refusal, in one line, in bounded time and memory."""

import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adm.shown import printable

LONGEST = 1_500  # characters; the longest refusals have two paths and the forms of data
SECONDS = 600  # on any machine; most take less than one
ROOM = 1 << 30  # bytes beyond what the process has


def refusal(action: Callable[[], object]) -> str | None:
    """Return the message with which an action refuses its input; None if it accepts it.

    Fails unless the refusal is a ValueError or an OSError with a short printable line. Subclasses
    such as UnicodeDecodeError, whose messages say too little, do not count.
    """
    try:
        with bounded():
            action()
    except (ValueError, OSError) as error:
        text, kind = str(error), type(error)
    else:
        return None
    plain = kind is ValueError or kind.__module__.startswith("adm.") or issubclass(kind, OSError)
    assert plain, f"{kind.__name__}: {text:.300}"
    assert text, kind
    assert len(text) < LONGEST, text[:300]
    assert printable(text) == text, ascii(text[:300])
    return text


@contextmanager
def bounded(seconds: int = SECONDS, room: int = ROOM) -> Iterator[None]:
    """Fail in a block that takes longer, or allocates more."""

    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before, limits = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    signal.alarm(seconds)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
        most = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
