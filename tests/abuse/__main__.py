"""python -m abuse -> the table of faults under damaged inputs, kills, full disks and rivals.

`make abuse` runs all of it.
"""

import argparse
import os
import shutil
import sys
from collections import Counter
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from abuse import disks, fuzz, kills, many, material, pairs, verbs
from abuse.bench import Bench, Result, Row
from abuse.child import Limits, end_with_parent
from abuse.judge import COLUMNS

ROOT = Path(__file__).parents[2]
INHERITED: list[tuple[Bench, dict[str, Row]]] = []
HEAD = ("kind of input", "tried", "accepted", *COLUMNS)


def main() -> int:
    """Run the requested trials; return the exit status."""
    options = arguments()
    out: Path = options.out.resolve()
    work = out / f"work-{os.getpid()}"
    shutil.rmtree(out / "failures", ignore_errors=True)
    material.warm()
    before = set(Path("/tmp").glob("*canary*"))
    try:
        files = material.make(work / "material")
        limits = Limits(seconds=options.seconds)
        bench = Bench(options.seed, files, work / "trials", out / "failures", limits)
        rows, bench = chosen(bench, options)
        results = run(bench, rows, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(table(rows, results))
    for note, count in Counter(each.note for _, each in results if each.note).most_common():
        print(f"{count} x {note}")
    if strays := set(Path("/tmp").glob("*canary*")) - before:
        print(f"written outside of all folders: {strays}")
    return 1 if strays or any(each.faults for _, each in results) else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make abuse", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=6000, help="damaged inputs, of all kinds")
    parser.add_argument("--only", action="append", help="a row of the table; may be repeated")
    parser.add_argument("--case", type=int, help="run only this number, again")
    parser.add_argument("--seconds", type=float, default=60, help="until a command hangs")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "abuse")
    parser.add_argument("-j", "--jobs", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def chosen(bench: Bench, options: argparse.Namespace) -> tuple[dict[str, Row], Bench]:
    """Return the requested rows of the table, and the bench for them."""
    rows = fuzz.rows(options.cases)
    prefixes = options.only or [""]
    if all(prefix.startswith("many") for prefix in prefixes):
        rows |= many.rows(bench)
    elif any(
        not prefix or not any(name.startswith(prefix) for name in rows) for prefix in prefixes
    ):
        bench = replace(bench, whole=verbs.undisturbed(bench))
        rows |= kills.rows(bench) | disks.rows() | pairs.rows()
    selected = {name: row for name, row in rows.items() if name.startswith(tuple(prefixes))}
    if not selected:
        sys.exit(f"no such row; the rows are {', '.join(rows)}")
    return selected, bench


def run(
    bench: Bench, rows: dict[str, Row], options: argparse.Namespace
) -> list[tuple[str, Result]]:
    """Divide the trials among processes; print each fault when it is found."""
    numbers = None if options.case is None else [options.case]
    trials = [(name, n) for name, row in rows.items() for n in numbers or range(row.count)]
    trials = bench.random("order", 0).sample(trials, len(trials))
    results = []
    with get_context("fork").Pool(options.jobs, begin, (bench, rows)) as pool:
        for name, number, judged in pool.imap_unordered(result, trials):
            results.append((name, judged))
            for column, what in judged.faults:
                print(f"{name}, --case {number}: {column}: {what[:300]} ({judged.what[:300]})")
    return results


def begin(bench: Bench, rows: dict[str, Row]) -> None:
    """Begin a process of trials, which inherits both; neither could be sent to it."""
    end_with_parent()
    INHERITED.append((bench, rows))


def result(trial: tuple[str, int]) -> tuple[str, int, Result]:
    bench, rows = INHERITED[0]
    name, number = trial
    return name, number, bench.result(name, number, rows[name].trial)


def table(rows: dict[str, Row], results: list[tuple[str, Result]]) -> str:
    """Return the number of trials of each row that have a fault of each column."""
    lines, totals = [], Counter[str]()
    for row in rows:
        judged = [each for name, each in results if name == row]
        counts = Counter(column for each in judged for column in {c for c, _ in each.faults})
        counts["tried"] = len(judged)
        counts["accepted"] = sum(each.statuses[-1:] == (0,) for each in judged)
        totals += counts
        lines.append((row, *(str(counts[name]) for name in HEAD[1:])))
    lines.append(("all", *(str(totals[name]) for name in HEAD[1:])))
    widths = [max(len(line[i]) for line in (HEAD, *lines)) for i in range(len(HEAD))]
    rule = tuple("-" * width for width in widths)
    cells = [
        [
            text.ljust(w) if not i else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (HEAD, rule, *lines)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


if __name__ == "__main__":
    sys.exit(main())
