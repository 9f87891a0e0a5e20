"""Verb, moment -> it is killed there, and run again: the result is that of an undisturbed run."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from abuse.bench import Bench, Result, Row
from abuse.child import POLL
from abuse.judge import TRACEBACK, Fault, faults_of, last_line
from abuse.verbs import VERBS, compared, prepare

Events = list[tuple[str, str]]  # what a process is about to do, and to which file
WATCHED = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "open")
ENDS = {  # statuses of a process that a signal has ended, with or without saving first
    signal.SIGKILL: (-9,),
    signal.SIGTERM: (-15, 143),
    signal.SIGHUP: (-1, 129),
}
NUMBERS = {"SIGKILL": 100, "SIGTERM": 20, "SIGHUP": 20}


def watch(folder: Path, at: int | None, log: Path | None) -> None:
    """Count the events below a folder in this process; kill it before the event `at`."""
    count = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if event not in WATCHED or not args or not isinstance(args[0], str | bytes | Path):
            return
        if event == "open" and not _writes(args):
            return
        path = args[1] if event == "os.rename" and len(args) > 1 else args[0]
        name = os.path.join(os.getcwd(), os.fsdecode(path))  # type: ignore[arg-type]
        if not name.startswith(f"{folder}/"):
            return
        if log is not None:
            line = f"{event}\t{os.path.relpath(name, folder)}\n".encode()
            handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, line)
            os.close(handle)
        elif count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(hook)


def _writes(args: tuple[object, ...]) -> bool:
    """Whether an `open` may write, as `fsync` opens a written file."""
    flags = args[2] if len(args) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def trace(bench: Bench, name: str) -> Events:
    """Return the events of an undisturbed run of a verb."""
    folder = bench.folder(f"trace {name}")
    log = folder.parent / "events"
    prepare(bench, folder, VERBS[name])
    watching: Callable[[], None] = lambda: watch(folder, None, log)  # noqa: E731
    bench.start(folder, ("-q", *VERBS[name].words), watching).wait()
    lines = log.read_text("utf-8").splitlines()
    bench.done(folder)
    return [(event, path) for event, path in (line.split("\t", 1) for line in lines)]


def aims(name: str, events: Events) -> list[tuple[str, int]]:
    """Return the moments of a verb to aim at: what it is about to do, and the event's number."""
    renames = [i for i, (event, _) in enumerate(events) if event == "os.rename"]
    if not renames:
        return []
    first, last = renames[0], renames[-1]
    moments = [("the last rename", last), ("what follows the last rename", last + 1)]
    if first != last:
        moments += [("what follows the first rename", first + 1)]
    sums = [i for i in renames if events[i][1].endswith("SHA256SUMS")]
    moments += [("SHA256SUMS gets its name", i) for i in (*sums[:1], *sums[1:][-1:])]
    if name == "train":
        parts = [i for i, (_, path) in enumerate(events) if re.search(r"safetensors$", path)]
        moments += [("a part is synced", parts[i]) for i in (1, len(parts) // 2, len(parts) - 1)]
    return moments


def rows(bench: Bench) -> dict[str, Row]:
    """Return the rows of the table."""
    moments = [(name, *aim) for name in bench.whole for aim in aims(name, trace(bench, name))]
    timely = {f"kills, {how}": Row(partial(timed, how=how), n) for how, n in NUMBERS.items()}
    return {"kills, aimed": Row(partial(aimed, moments=moments), len(moments)), **timely}


def aimed(
    bench: Bench, _: Random, number: int, folder: Path, moments: list[tuple[str, str, int]]
) -> Result:
    """Kill a command before a chosen event."""
    name, what, at = moments[number]
    verb = VERBS[name]
    prepare(bench, folder, verb)
    watching: Callable[[], None] = lambda: watch(folder, at, None)  # noqa: E731
    killed = bench.start(folder, ("-q", *verb.words), watching, "killed").wait()
    late = "" if killed.status == -signal.SIGKILL else f"{name}: {what} came no more"
    faults, again = _again(bench, folder, name)
    return Result(faults, (killed.status, again), f"{name} before {what}", late)


def timed(bench: Bench, random: Random, number: int, folder: Path, how: str) -> Result:
    """Send a signal at a random moment."""
    names, chosen = list(VERBS), signal.Signals[how]
    name = names[number % len(names)]
    prepare(bench, folder, VERBS[name])
    child = bench.start(folder, ("-q", *VERBS[name].words), name="killed")
    until = time.monotonic() + random.uniform(0.02, bench.whole[name].seconds)
    while (killed := child.poll()) is None and time.monotonic() < until:
        time.sleep(POLL)
    if killed is None:
        child.signal(chosen)
        killed = child.wait()
    faults = []
    if TRACEBACK in killed.err + killed.out:
        faults = [Fault("tracebacks", last_line(killed.err))]
    elif killed.status not in (0, *ENDS[chosen]):
        faults = [Fault("wrong exits", str(killed.status))]
    late = "the command had ended" if killed.status == 0 else ""
    more, again = _again(bench, folder, name)
    return Result(faults + more, (killed.status, again), f"{name} on {how}", late)


def _again(bench: Bench, folder: Path, name: str) -> tuple[list[Fault], int]:
    """Run the same command again, and compare; return the faults and the exit status."""
    outcome = bench.start(folder, ("-q", *VERBS[name].words), name="again").wait()
    faults = faults_of(outcome, bench.limits, allowed=(0,))
    if outcome.status == 0:
        faults += compared(bench, name, folder)
    return faults, outcome.status
