"""python -m abuse -> the table of faults under damaged inputs, kills, full disks and rivals.

`make abuse` runs all of it. A run that is stopped continues where it was, as long as neither the
package nor these files have changed.
"""

import argparse
import hashlib
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from abuse import canaries, fuzz, kills, material, table, verbs
from abuse.bench import Bench, Row
from abuse.child import Limits, end_with_parent
from abuse.disks import Disks
from abuse.pairs import Pairs

import adm

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the trials that are asked for; return the exit status."""
    options = arguments()
    out: Path = options.out.resolve()
    work = out / f"work-{os.getpid()}"
    results = table.Results(out / f"results-{options.seed}-{version()}.jsonl", options.fresh)
    if not results.known:
        shutil.rmtree(out / "failures", ignore_errors=True)
    material.warm()
    strays = set(Path("/tmp").glob("*canary*"))
    try:
        bench = Bench(
            options.seed,
            material.make(work / "material"),
            work / "trials",
            out / "failures",
            Limits(seconds=options.seconds),
        )
        rows = chosen(bench, options)
        trials = [
            (name, number)
            for name, row in rows.items()
            for number in ([options.case] if options.case is not None else range(row.count))
        ]
        left = [each for each in trials if options.case is not None or each not in results.known]
        run(bench, rows, left, options.jobs, results)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(results.shown(rows))
    if found := set(Path("/tmp").glob("*canary*")) - strays:
        print(f"written outside of all folders: {found}")
    return 1 if found or results.faulty(rows) else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make abuse", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=5500, help="damaged inputs, of all kinds")
    parser.add_argument("--only", action="append", help="a row of the table; may be repeated")
    parser.add_argument("--case", type=int, help="run only this number, again")
    parser.add_argument("--seconds", type=float, default=60, help="until a command hangs")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "abuse")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("-j", "--jobs", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def chosen(bench: Bench, options: argparse.Namespace) -> dict[str, Row]:
    """Return the rows of the table that are asked for."""
    rows = {**fuzz.rows(options.cases), **canaries.rows()}
    wanted = options.only or [""]
    if any(each not in (name[: len(each)] for name in rows) or not each for each in wanted):
        whole = verbs.undisturbed(bench)
        moments = [
            (name, *aim) for name in whole for aim in kills.aims(name, kills.trace(bench, name))
        ]
        for part in (kills.Kills(whole, moments), Disks(whole), Pairs(whole)):
            rows |= part.rows()
    found = {name: row for name, row in rows.items() if name.startswith(tuple(wanted))}
    if not found:
        sys.exit(f"no such row; the rows are {', '.join(rows)}")
    return found


def version() -> str:
    """Return a hash of the package and of these files."""
    digest = hashlib.sha256()
    for folder in (Path(adm.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def run(
    bench: Bench,
    rows: dict[str, Row],
    trials: list[tuple[str, int]],
    jobs: int,
    results: table.Results,
) -> None:
    """Divide the trials among processes, which append their results to one file."""
    trials = bench.random("order", 0).sample(trials, len(trials))
    sys.stdout.flush()
    pids = []
    for job in range(jobs):
        pid = os.fork()
        if pid == 0:
            work(bench, rows, trials[job::jobs], results)
        pids.append(pid)
    statuses = dict[int, int]()
    try:
        while len(statuses) < len(pids):
            for pid in set(pids) - statuses.keys():
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    statuses[pid] = status
            results.show_progress(len(trials))
            time.sleep(0.2)
    except BaseException:
        for pid in set(pids) - statuses.keys():
            os.kill(pid, signal.SIGTERM)
        raise
    results.read()
    if any(statuses.values()):
        raise RuntimeError("a process of trials has failed; its error is above")


def work(
    bench: Bench, rows: dict[str, Row], trials: list[tuple[str, int]], results: table.Results
) -> None:
    """Run trials one after another, and exit."""
    end_with_parent()
    status = 0
    try:
        for name, number in trials:
            started = time.monotonic()
            try:
                found = rows[name].trial(bench, name, number)
            except Exception:  # of these files, not of the program
                traceback.print_exc()
                status = 1
                continue
            results.add(name, number, found, time.monotonic() - started)
    except KeyboardInterrupt:
        status = 1
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
