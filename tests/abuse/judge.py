"""Outcome, files before and after -> faults, each of a kind that a column of the table counts."""

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from abuse.child import Limits, Outcome

COLUMNS = (
    "tracebacks",
    "wrong exits",
    "hangs",
    "memory",
    "bad lines",
    "bytes that differ",
    "files left",
)
PREFIX = "adm: "
LONGEST = 1000  # characters of a line of an error
MOST_LINES = 40  # of an error
ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
WARNING = re.compile(r"^\S+\.py:\d+: \w*Warning", re.MULTILINE)
# Words of Python or the system, which name neither the input nor a cure.
RIDDLES = re.compile(
    r"Errno|Path\(|embedded null|invalid literal|could not convert|unable to convert|"
    r"has an empty name|Symlink loop|surrogates not allowed"
)
TRACEBACK = "Traceback (most recent call last)"


class Fault(NamedTuple):
    column: str
    what: str


def faults_of(outcome: Outcome, limits: Limits, allowed: Collection[int] = (0, 2)) -> list[Fault]:
    """Return the faults of the exit, the output and the memory of a command."""
    faults = []
    if outcome.hung:
        faults.append(Fault("hangs", f"more than {limits.seconds:g} s"))
    elif TRACEBACK in outcome.err + outcome.out:
        faults.append(Fault("tracebacks", last_line(outcome.err)))
    elif outcome.status not in allowed:
        faults.append(Fault("wrong exits", f"{outcome.status}: {last_line(outcome.err)}"))
    else:
        faults += _lines(outcome)
    if outcome.memory > limits.memory:
        faults.append(Fault("memory", f"{outcome.memory >> 20} MiB"))
    return faults


def _lines(outcome: Outcome) -> list[Fault]:
    """Return the faults of the printed output."""
    lines, wrong = outcome.err.splitlines(), []
    if outcome.status == 2:
        if not lines:
            wrong.append("refused without a line")
        others = [line for line in lines if not line.startswith(PREFIX)]
        if others:
            wrong.append(f"not a line of adm: {others[0][:200]!r}")
        if len(lines) > MOST_LINES:
            wrong.append(f"{len(lines)} lines")
        longest = max(map(len, lines), default=0)
        if longest > LONGEST:
            wrong.append(f"a line of {longest} characters: {max(lines, key=len)[:200]!r}")
    for text in (outcome.err, outcome.out):
        if match := ESCAPES.search(text.replace("\r\n", "\n")):
            start = max(match.start() - 60, 0)
            wrong.append(f"a control character: {text[start : match.end() + 20]!r}")
    if match := RIDDLES.search(outcome.err):
        wrong.append(f"words of Python: {outcome.err[max(match.start() - 60, 0) :][:200]!r}")
    if match := WARNING.search(outcome.err):
        wrong.append(f"a warning of Python: {outcome.err[match.start() :][:200]!r}")
    return [Fault("bad lines", each) for each in wrong]


def last_line(text: str) -> str:
    """Return the last line of an error that is not empty, cut short."""
    return next((line[:300] for line in reversed(text.splitlines()) if line.strip()), "")


def files_of(folder: Path) -> dict[str, str]:
    """Return every path below a folder, with the hash of a file and the target of a link."""
    entries = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            relative = str(path.relative_to(folder))
            if path.is_symlink():
                entries[relative] = f"link to {os.readlink(path)}"
            elif path.is_dir():
                entries[relative] = "folder"
            elif path.is_file():
                entries[relative] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                entries[relative] = "special"
    return entries


def left_over(
    before: Mapping[str, str], after: Mapping[str, str], outputs: Collection[str], done: bool
) -> list[Fault]:
    """Return the faults of the files of a folder in which a command has run.

    Args:
        outputs: paths that the command may write; if it was refused, only existing ones.
        done: whether it succeeded.
    """

    def may_be(name: str) -> bool:
        inside = [out for out in outputs if name == out or name.startswith(f"{out}/")]
        above = done and any(out.startswith(f"{name}/") for out in outputs)
        return above or any(done or out in before for out in inside)

    hidden = [
        name
        for name in after.keys() - before.keys()
        if any(part.startswith(".") for part in name.split("/"))
    ]
    new = [name for name in after.keys() - before.keys() if not may_be(name)]
    faults = [Fault("files left", name) for name in sorted({*hidden, *new})[:3]]
    written = tuple(outputs)
    lost = [
        name
        for name in before
        if after.get(name) != before[name]
        and not any(name == out or name.startswith(f"{out}/") for out in written)
    ]
    return faults + [Fault("bytes that differ", f"{name} was changed") for name in sorted(lost)[:3]]


def differing(
    expected: Mapping[str, str], actual: Mapping[str, str], ignored: Collection[str] = ()
) -> list[Fault]:
    """Return the faults of files that should equal others."""
    names = sorted(
        name
        for name in expected.keys() | actual.keys()
        if expected.get(name) != actual.get(name) and not any(map(Path(name).match, ignored))
    )
    faults = []
    for name in names[:5]:
        how = "is missing" if name not in actual else "differs"
        if name in expected:
            faults.append(Fault("bytes that differ", f"{name} {how}"))
        else:
            faults.append(Fault("files left", name))
    return faults
