"""Verb -> the same command twice at once: one does the work, the other is refused or finds it."""

import time
from pathlib import Path
from random import Random

from abuse.bench import Bench, Result, Row
from abuse.child import POLL, Outcome
from abuse.judge import Fault, faults_of, last_line
from abuse.verbs import VERBS, compared, prepare

RIVALS = ("train", "sample", "evaluate", "sweep", "data pack")
EACH = 10


def rows() -> dict[str, Row]:
    """Return the row of the table."""
    return {"pairs": Row(trial, EACH * len(RIVALS))}


def trial(bench: Bench, random: Random, number: int, folder: Path) -> Result:
    """Start a command twice, the second a moment after the first."""
    name = RIVALS[number % len(RIVALS)]
    prepare(bench, folder, VERBS[name])
    words = ("-q", *VERBS[name].words)
    children = [bench.start(folder, words, name="first")]
    time.sleep(random.choice((0, 0, random.uniform(0, bench.whole[name].seconds))))
    children.append(bench.start(folder, words, name="second"))
    ended = dict[int, Outcome]()
    while len(ended) < len(children):
        for child in children:
            if child.pid not in ended and (outcome := child.poll()) is not None:
                ended[child.pid] = outcome
        time.sleep(POLL)
    outcomes = list(ended.values())
    faults = [fault for each in outcomes for fault in faults_of(each, bench.limits)]
    statuses = tuple(sorted((each.status for each in outcomes), reverse=True))
    if 0 not in statuses:
        errors = [last_line(each.err) for each in outcomes]
        faults.append(Fault("wrong exits", f"none of the two succeeds: {errors}"))
    return Result(faults + compared(bench, name, folder), statuses, f"two of {name}")
