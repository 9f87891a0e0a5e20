"""Recipes -> tables and figures of docs/results/ablation.md, the paper's ablation at small scale.

    python benchmarks/ablation.py --workers 2
    python benchmarks/ablation.py --data emoji --images emoji --only combined by-loss
    python benchmarks/ablation.py --so-far --docs docs

Every row is trained for the same seconds of a processor: its steps are measured first, all rows in
turn, and stored. Ctrl-C saves the runs; the same command continues, also after a kill.
--so-far writes what has been measured, and measures nothing. --set changes all rows; with it,
--seconds or --count, choose an --out of its own.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import ablation_page
from ablation_plan import COUNT, SECONDS, SEEDS, Plan, plans
from ablation_run import Job, jobs, prepare, work
from ablation_scores import Times, read_runs, read_times
from ablation_tasks import Task, running

from adm.app.progress import progress
from adm.training import log


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=list(plans()), default="fashion")
    parser.add_argument("--images", help="folder of the images, for emoji")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="and those they are compared with")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of a row")
    parser.add_argument("--seconds", type=float, help=f"of a processor a run, {SECONDS:g}")
    parser.add_argument("--count", type=int, default=COUNT, help="images of a run that are scored")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--workers", type=int, default=1, help="runs at once, each on one thread")
    parser.add_argument("--so-far", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--docs", type=Path, help="folder of ablation.md and images/ to write to")
    args = parser.parse_args()
    plan = planned(args)
    place = args.out / plan.name
    if not args.so_far:
        only = tuple(args.only) if args.only else None
        try:
            carry_out(replace(plan, chosen=only), place, args.workers)
        except KeyboardInterrupt:
            print("stopped; the same command continues")
            return 130
        except (ValueError, RuntimeError) as error:
            parser.exit(2, f"{error}\n")
    if not read_runs(plan, place):
        print(f"{plan.name}: nothing has been measured in {place}")
        return 0
    ablation_page.write(plan, place, args.docs)
    return 0


def planned(args: argparse.Namespace) -> Plan:
    """Return the plan that the options describe."""
    plan = plans()[args.data]
    return replace(
        plan,
        contest=replace(plan.contest, data=args.images or plan.contest.data),
        seconds=args.seconds or plan.seconds,
        seeds=args.seeds,
        count=args.count,
        common=tuple(args.set),
    )


def carry_out(plan: Plan, place: Path, workers: int = 1) -> None:
    """Train and score what is left of a plan, `workers` runs at a time.

    Raises:
        RuntimeError: a run failed; its error has been printed.
    """
    left = jobs(plan, place)
    if not left:
        return
    read_times(plan, place)  # which may refuse, before anything is measured
    print(f"{plan.name}: steps of {len(plan.networks())} networks, and references", flush=True)
    for _ in running([Task("preparation", prepare, (plan, place))], 1):
        pass
    times = read_times(plan, place)
    assert times is not None
    hours = len(left) * plan.seconds / workers / 3600
    print(
        f"{plan.name}: {len(left)} runs, {hours:.1f} h of training, {workers} at once; and their "
        "scores",
        flush=True,
    )
    total, before = len(left) * plan.seconds, trained(left, times, place)
    tasks = [Task(job.folder(place).name, work, (plan, job, times, place)) for job in left]
    with progress(f"ablation on {plan.name}", total, "s", before) as advance:
        for names in running(tasks, workers):
            now = trained(left, times, place)
            advance(max(0.0, now - before), ", ".join(names))
            before = max(before, now)


def trained(left: list[Job], times: Times, place: Path) -> float:
    """Return the seconds of training that the runs have behind them, by their logs."""
    total = 0.0
    for job in left:
        path, timed = job.folder(place) / log.FILE, times.rows[job.row.name]
        done = path.read_bytes().count(b"\n") if path.exists() else 0
        total += timed.step_seconds * min(done, timed.steps)
    return total


if __name__ == "__main__":
    raise SystemExit(main())
