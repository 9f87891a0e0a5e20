"""Kind, number -> a damaged input, given to the program: the faults of what it does."""

from collections.abc import Mapping

from abuse import kinds
from abuse.bench import Bench, Result, Row
from abuse.judge import Fault, differing, faults_of, files_of, left_over
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
}
# Verbs that keep what they have done when a later image turns out to be broken.
GROWING = (("train",), ("sweep",), ("data", "pack"))


def trial(bench: Bench, row: str, number: int) -> Result:
    """Run one case."""
    folder = bench.folder(row, number)
    case = KINDS[row](bench.random(row, number), folder, bench.material)
    before = files_of(folder)
    outcome = bench.start(folder, ("-q", *case.words)).wait()
    after = files_of(folder)
    done = outcome.status == 0
    faults = faults_of(outcome, bench.limits)
    if not outcome.hung and outcome.status in (0, 2):
        kept = done or any(case.words[: len(verb)] == verb for verb in GROWING)
        faults += left_over(before, after, (*case.outputs, "cache", "home"), kept)
    if done and case.same_as is not None:
        here, there = case.same_as
        wanted, found = files_of(bench.material.root / there), files_of(folder / here)
        faults += differing(wanted, found, case.unread)
    if faults:
        _keep(bench, row, number, faults, outcome.err)
    bench.done(folder)
    return Result(faults, (outcome.status,))


def _keep(bench: Bench, row: str, number: int, faults: list[Fault], printed: str) -> None:
    """Keep the case as it was before the command."""
    folder = bench.folder(row, number)
    case = KINDS[row](bench.random(row, number), folder, bench.material)
    story = {"seed": bench.seed, "row": row, "number": number, "words": case.words}
    bench.keep(folder, story | {"faults": faults, "printed": printed[-5000:]})


def rows(cases: int) -> dict[str, Row]:
    """Return the rows of the table, with so many cases in all."""
    return {name: Row(trial, -(-cases // len(KINDS))) for name in KINDS}
