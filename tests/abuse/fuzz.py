"""Kind, number -> the faults of the program on a damaged input."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

from abuse import hostile, kinds
from abuse.bench import Bench, Result, Row
from abuse.canaries import CANARY, code
from abuse.child import Limits, Outcome
from abuse.judge import Fault, differing, faults_of, files_of, left_over
from abuse.material import Material
from abuse.words import words

KINDS: Mapping[str, kinds.Kind] = {
    "model files": kinds.model,
    "released files": kinds.released,
    "run folders": kinds.run,
    "references": kinds.reference,
    "sample folders": kinds.samples,
    "arrays": kinds.arrays,
    "archives": kinds.archives,
    "images": kinds.images,
    "lists": kinds.lists,
    "settings": kinds.settings,
    "command lines": words,
    "code in files": code,
    "sizes": hostile.sizes,
    "states": hostile.states,
    "refusals": hostile.refusals,
}
UNRELATED = ("home/*", "home/**/*", "cache/*", "cache/**/*", ".lock")  # not of the data
LIMITS = {"sizes": Limits(seconds=10, memory=10**9)}
# Verbs whose finished parts remain when a later image turns out to be broken.
GROWING = (("train",), ("sweep",), ("data", "pack"))


def faults_in(
    folder: Path,
    case: kinds.Case,
    before: Mapping[str, str],
    outcome: Outcome,
    material: Material,
    limits: Limits,
) -> list[Fault]:
    """Return the faults of a command that has ended, and of the files in its folder.

    Args:
        before: `files_of` the folder before the command.
    """
    after = files_of(folder)
    done = outcome.status == 0
    faults = faults_of(outcome, limits)
    if not outcome.hung and outcome.status in (0, 2):
        may_write = done or any(case.words[: len(verb)] == verb for verb in GROWING)
        faults += left_over(before, after, (*case.outputs, "cache", "home"), may_write)
    if outcome.status == 2 and case.unchanged:
        faults += differing(before, after, UNRELATED)
    if done and case.same_as is not None:
        path, source = case.same_as
        expected, actual = files_of(material.root / source), files_of(folder / path)
        faults += differing(expected, actual, case.unread)
    elsewhere = [path.name for path in folder.parent.iterdir() if path != folder]
    elsewhere += [name for name in after.keys() - before.keys() if CANARY in Path(name).name]
    return faults + [Fault("files left", f"{name} was written by a file") for name in elsewhere]


def trial(bench: Bench, row: str, random: Random, folder: Path) -> Result:
    """Run one case."""
    bench = replace(bench, limits=LIMITS.get(row, bench.limits))
    case = KINDS[row](random, folder, bench.material)
    before = files_of(folder)
    outcome = bench.start(folder, ("-q", *case.words)).wait()
    faults = faults_in(folder, case, before, outcome, bench.material, bench.limits)
    return Result(faults, (outcome.status,), " ".join(map(str, case.words)))


def rows(cases: int) -> dict[str, Row]:
    """Return the rows of the table, with `cases` trials in all."""

    def row(name: str) -> Row:
        return Row(
            lambda bench, random, _, folder: trial(bench, name, random, folder),
            -(-cases // len(KINDS)),
        )

    return {name: row(name) for name in KINDS}
