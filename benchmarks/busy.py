"""Cores taken by other work -> a table of sampling times by how OpenMP's threads wait.

python benchmarks/busy.py
python benchmarks/busy.py --taken 1 --rounds 5 --spins 0 1000 3000 10000

Every contender is a process of its own with its own environment, and they sample the same images
in turn, one at a time: in each round on the machine as it is, then beside processes that compute
without end, each on a core of its own and at a higher priority. Run it on a machine that has
nothing else to do.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from adm.runs.processor import processor

PRIORITY = 10  # of the contenders; that of the other work is 0
OPENMP = ("OMP_", "GOMP_", "KMP_", "MKL_")
DEFAULT = "torch's default"
WORKER = """
import sys, time
from adm.app import openmp
if sys.argv[1] == "adm":
    openmp.configure()
from adm import load
model = load("fashion", device="cpu")
def sample(steps):
    started = time.perf_counter()
    model.sample({"sneaker": 16}, scale=2.0, steps=steps, seed=0)
    return time.perf_counter() - started
sample(2)
print("ready", flush=True)
for line in sys.stdin:
    print(sample(int(line)), flush=True)
"""


@dataclass(frozen=True)
class Contender:
    """How threads wait: variables of the environment, or what this package chooses."""

    name: str
    variables: dict[str, str]
    configured: bool = False
    late: bool = False  # started when the other work is running

    def start(self) -> subprocess.Popen[str]:
        """Start its process, and return when it is ready to sample."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(OPENMP)}
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, "adm" if self.configured else "plain"],
            env=own | self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.nice(PRIORITY),
        )
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{self.name}: the process ended before it was ready")
        return process


def contenders(spins: Sequence[int]) -> list[Contender]:
    """The defaults of torch and of this package, the extremes, and other lengths of spinning."""
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}
    # Variables that this process sets without having been asked count as a user's own.
    counted = [
        Contender(f"{count:,} spins", {"GOMP_SPINCOUNT": str(count)}, configured=True)
        for count in spins
    ]
    return [
        Contender(DEFAULT, {}),
        Contender("adm, started on the idle machine", {}, configured=True),
        Contender("adm, started on the busy machine", {}, configured=True, late=True),
        Contender("passive", passive),
        Contender("one thread", {"OMP_NUM_THREADS": "1"}),
        *counted,
    ]


def timed(process: subprocess.Popen[str], steps: int) -> float:
    """Let a contender sample once, and return the seconds that it took."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


@contextmanager
def taken(cores: Sequence[int]) -> Iterator[None]:
    """Processes that compute without end, one bound to each of these cores."""
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen([*command, str(core)]) for core in cores]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def race(
    entrants: Sequence[Contender], cores: Sequence[int], rounds: int, steps: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Return the seconds of every round by name: on the machine as it is, and on a busy one."""
    processes = {entrant.name: entrant.start() for entrant in entrants if not entrant.late}
    with taken(cores):
        processes |= {entrant.name: entrant.start() for entrant in entrants if entrant.late}
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in processes}
    for round_ in range(rounds):
        for name, process in processes.items():
            seconds[name][0].append(timed(process, steps))
        with taken(cores):
            for name, process in processes.items():
                seconds[name][1].append(timed(process, steps))
        print(f"round {round_ + 1} of {rounds}", file=sys.stderr)
    for process in processes.values():
        process.kill()
    return seconds


def ratio(times: Sequence[float], base: Sequence[float]) -> str:
    """Return the median over rounds of the ratio of two times, with its range."""
    ratios = [time_ / other for time_, other in zip(times, base, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def print_table(seconds: dict[str, tuple[list[float], list[float]]]) -> None:
    base = seconds[DEFAULT][0]
    print("| | idle, s | times torch's default, idle | busy, s | times torch's default, idle |")
    print("|---|---|---|---|---|")
    for name, (idle, busy) in seconds.items():
        print(
            f"| {name} | {statistics.median(idle):.2f} | {ratio(idle, base)} | "
            f"{statistics.median(busy):.2f} | {ratio(busy, base)} |"
        )


def describe(cores: Sequence[int]) -> str:
    """Return the hardware, the versions and the load, on one line."""
    import torch

    return (
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, "
        f"{len(cores)} of them taken in the busy runs, load {os.getloadavg()[0]:.1f} at the start, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--taken", type=int, default=1, help="cores that other work takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="evaluations of the network")
    parser.add_argument("--spins", type=int, nargs="*", default=[], help="counts to compare")
    args = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        parser.error("only Linux binds a process to a core")
    cores = sorted(os.sched_getaffinity(0))[: args.taken]
    print(describe(cores) + "\n", flush=True)
    print_table(race(contenders(args.spins), cores, args.rounds, args.steps))


if __name__ == "__main__":
    main()
