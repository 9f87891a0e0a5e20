"""Verb -> two of the same command at once: one does the work, the other is refused or finds it."""

import time

from abuse.bench import Bench, Result, Row
from abuse.child import POLL, Outcome
from abuse.judge import Fault, faults_of, last_line
from abuse.verbs import VERBS, Whole, compared, prepare

RIVALS = ("train", "sample", "evaluate", "sweep", "data pack")
EACH = 10


class Pairs:
    """Trials of two commands at once."""

    def __init__(self, whole: dict[str, Whole]) -> None:
        self.whole = whole

    def rows(self) -> dict[str, Row]:
        """Return the row of the table."""
        return {"pairs": Row(self.trial, EACH * len(RIVALS))}

    def trial(self, bench: Bench, row: str, number: int) -> Result:
        """Start a command twice, the second a moment after the first."""
        name, random = RIVALS[number % len(RIVALS)], bench.random(row, number)
        folder, whole = bench.folder(row, number), self.whole[name]
        prepare(bench, folder, VERBS[name])
        words = ("-q", *VERBS[name].words)
        children = [bench.start(folder, words, name="first")]
        time.sleep(random.choice((0, 0, random.uniform(0, whole.seconds))))
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
            told = [last_line(each.err) for each in outcomes]
            faults.append(Fault("wrong exits", f"none of the two succeeds: {told}"))
        faults += compared(name, whole, folder)
        faults = [Fault(column, f"{name}: {what}") for column, what in faults]
        if faults:
            told = [each.err[-2000:] for each in outcomes]
            bench.keep(folder, {"seed": bench.seed, "faults": faults, "printed": told})
        bench.done(folder)
        return Result(faults, statuses)
