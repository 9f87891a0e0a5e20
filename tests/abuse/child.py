"""Callable, limits -> Outcome: how a forked child of this process ended.

A new Python that imports torch takes seconds; a child of a process that has imported it takes
milliseconds. The parent must not have started threads, which a child would not have.
"""

import atexit
import ctypes
import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL = 0.002  # seconds
MIB = 1 << 20
LIBC = ctypes.CDLL(None)
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        seconds: until it counts as hanging, and is killed.
        memory: bytes resident beyond those of the parent, above which it is reported.
        address_space: bytes that it may map beyond the parent's; an allocation above fails.
    """

    seconds: float = 60.0
    memory: int = 1500 * MIB
    address_space: int = 4096 * MIB


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        status: exit status, or the negative number of the signal that ended it.
        memory: bytes resident at most, beyond those of the parent.
    """

    status: int
    out: str
    err: str
    seconds: float
    hung: bool
    memory: int


class Child:
    """A running child. Its standard output and error go to files of a folder."""

    def __init__(self, work: Callable[[], object], logs: Path, limits: Limits) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        for name in ("stdout", "stderr"):  # which a child that is killed at once does not make
            (logs / name).write_bytes(b"")
        self.logs, self.limits = logs, limits
        self.before = _resident()
        self.started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(work, logs, limits)

    def signal(self, number: int) -> None:
        """Send a signal to the child."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def running(self) -> bool:
        """Whether it runs, within its time; `poll` reaps it."""
        if time.monotonic() - self.started > self.limits.seconds:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def poll(self) -> Outcome | None:
        """Return how it ended, or None while it runs; kill it when its time is over."""
        hung = time.monotonic() - self.started > self.limits.seconds
        if hung:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        pid, status, used = os.wait4(self.pid, 0 if hung else os.WNOHANG)
        if pid == 0:
            return None
        with suppress(ProcessLookupError, PermissionError):  # what it started itself
            os.killpg(self.pid, signal.SIGKILL)
        return Outcome(
            status=os.waitstatus_to_exitcode(status),
            out=(self.logs / "stdout").read_bytes().decode("utf-8", "backslashreplace"),
            err=(self.logs / "stderr").read_bytes().decode("utf-8", "backslashreplace"),
            seconds=time.monotonic() - self.started,
            hung=hung,
            memory=max(used.ru_maxrss * 1024 - self.before, 0),
        )

    def wait(self) -> Outcome:
        """Wait until it ends."""
        while (outcome := self.poll()) is None:
            time.sleep(POLL)
        return outcome


def run(work: Callable[[], object], logs: Path, limits: Limits | None = None) -> Outcome:
    """Call a function in a child, and wait for its end."""
    return Child(work, logs, limits or Limits()).wait()


def _run(work: Callable[[], object], logs: Path, limits: Limits) -> None:
    """Call the function as a program of its own would run it, and exit."""
    status = 1
    try:
        _become(logs, limits)
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        with suppress(BaseException):
            traceback.print_exc()
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):
                stream.flush()
        os._exit(status & 0xFF)


def _become(logs: Path, limits: Limits) -> None:
    os.setsid()
    end_with_parent()
    faulthandler.disable()  # pytest's, which writes to another place
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()  # those of the parent
    for number, target in ((0, "/dev/null"), (1, logs / "stdout"), (2, logs / "stderr")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        handle = os.open(target, flags, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = _mapped() + limits.address_space
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends; Linux only."""
    with suppress(OSError, AttributeError):
        LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL)


def _resident() -> int:
    return _pages(1)


def _mapped() -> int:
    return _pages(0)


def _pages(column: int) -> int:
    fields = Path("/proc/self/statm").read_text("utf-8").split()
    return int(fields[column]) * os.sysconf("SC_PAGE_SIZE")
