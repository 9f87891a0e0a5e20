"""Verb, moment -> it is killed there, and run again: the result is that of an undisturbed run."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from abuse.bench import Bench, Result, Row
from abuse.child import POLL, Outcome
from abuse.judge import TRACEBACK, Fault, faults_of, last_line
from abuse.verbs import VERBS, Verb, Whole, compared, prepare

Events = list[tuple[str, str]]  # what a process is about to do to a file, and to which
WATCHED = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "open")
ENDS = {  # statuses of a process that a signal has ended, with or without saving first
    signal.SIGKILL: (-9,),
    signal.SIGTERM: (-15, 143),
    signal.SIGHUP: (-1, 129),
}
NUMBERS = {"SIGKILL": 100, "SIGTERM": 20, "SIGHUP": 20}


def watch(folder: Path, at: int | None, log: Path | None) -> None:
    """Count the events below a folder in this process; kill it before the one with this number."""
    seen = 0

    def hook(event: str, given: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in WATCHED or not given or not isinstance(given[0], str | bytes | Path):
            return
        if event == "open" and not _writes(given):
            return
        path = given[1] if event == "os.rename" and len(given) > 1 else given[0]
        name = os.path.join(os.getcwd(), os.fsdecode(path))  # type: ignore[arg-type]
        if not name.startswith(f"{folder}/"):
            return
        if log is not None:
            line = f"{event}\t{os.path.relpath(name, folder)}\n".encode()
            handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, line)
            os.close(handle)
        elif seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    sys.addaudithook(hook)


def _writes(given: tuple[object, ...]) -> bool:
    """Whether an `open` may write: `fsync` of a file opens it so, after it has been written."""
    flags = given[2] if len(given) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def trace(bench: Bench, name: str) -> Events:
    """Return the events of an undisturbed run of a verb."""
    folder, log = bench.folder(f"trace {name}", 0), bench.work / f"trace-{name}"
    log.unlink(missing_ok=True)
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
    found = [("the last rename", last), ("what follows the last rename", last + 1)]
    if first != last:
        found += [("what follows the first rename", first + 1)]
    sums = [i for i in renames if events[i][1].endswith("SHA256SUMS")]
    found += [("SHA256SUMS gets its name", i) for i in (*sums[:1], *sums[1:][-1:])]
    if name == "train":
        parts = [i for i, (_, path) in enumerate(events) if re.search(r"safetensors$", path)]
        found += [("a part is synced", parts[i]) for i in (1, len(parts) // 2, len(parts) - 1)]
    return found


class Kills:
    """Trials of killed commands."""

    def __init__(self, whole: dict[str, Whole], moments: list[tuple[str, str, int]]) -> None:
        self.whole, self.moments = whole, moments

    def rows(self) -> dict[str, Row]:
        """Return the rows of the table."""
        timed = {f"kills, {name}": Row(self.timed, count) for name, count in NUMBERS.items()}
        return {"kills, aimed": Row(self.aimed, len(self.moments)), **timed}

    def aimed(self, bench: Bench, row: str, number: int) -> Result:
        """Kill a command before a chosen event."""
        name, what, at = self.moments[number]
        folder, verb = bench.folder(row, number), VERBS[name]
        prepare(bench, folder, verb)
        watching: Callable[[], None] = lambda: watch(folder, at, None)  # noqa: E731
        killed = bench.start(folder, ("-q", *verb.words), watching, "killed").wait()
        late = "" if killed.status == -signal.SIGKILL else f"{name}: {what} came no more"
        return self._again(bench, folder, name, killed, f"{name} before {what}", [], late)

    def timed(self, bench: Bench, row: str, number: int) -> Result:
        """Send a signal at a random moment."""
        random, names = bench.random(row, number), list(VERBS)
        name = names[number % len(names)]
        chosen = signal.Signals[row.rpartition(" ")[2]]
        folder, verb = bench.folder(row, number), VERBS[name]
        prepare(bench, folder, verb)
        killed = self._signalled(bench, folder, verb, chosen, random, self.whole[name].seconds)
        faults = []
        if TRACEBACK in killed.err + killed.out:
            faults = [Fault("tracebacks", f"on {chosen.name}: {last_line(killed.err)}")]
        elif killed.status not in (0, *ENDS[chosen]):
            faults = [Fault("wrong exits", f"{killed.status} on {chosen.name}")]
        late = "the command had ended" if killed.status == 0 else ""
        return self._again(bench, folder, name, killed, f"{name} on {chosen.name}", faults, late)

    # The whole story of a signal: the command, the place, the number and the moment.
    @staticmethod
    def _signalled(
        bench: Bench,
        folder: Path,
        verb: Verb,
        chosen: signal.Signals,
        random: Random,
        seconds: float,
    ) -> Outcome:
        child = bench.start(folder, ("-q", *verb.words), name="killed")
        until = time.monotonic() + random.uniform(0.02, seconds)
        while time.monotonic() < until:
            if (outcome := child.poll()) is not None:
                return outcome
            time.sleep(POLL)
        child.signal(chosen)
        return child.wait()

    # What happened before is a part of the result.
    def _again(
        self,
        bench: Bench,
        folder: Path,
        name: str,
        killed: Outcome,
        what: str,
        faults: list[Fault],
        note: str,
    ) -> Result:
        """Run the same command again, and compare."""
        outcome = bench.start(folder, ("-q", *VERBS[name].words), name="again").wait()
        faults = [*faults, *faults_of(outcome, bench.limits, allowed=(0,))]
        if outcome.status == 0:
            faults += compared(name, self.whole[name], folder)
        faults = [Fault(column, f"{name}: {fault}") for column, fault in faults]
        if faults:
            bench.keep(folder, {"seed": bench.seed, "killed": what, "faults": faults})
        bench.done(folder)
        return Result(faults, (killed.status, outcome.status), note)
