"""Minutes -> training, sampling and evaluating in turn by two processes, one of them often killed.

    PYTHONPATH=tests python -m abuse.soak --minutes 60 --every 120

torchrun starts a command again after each kill. Its files are compared, byte for byte, with those
of an undisturbed run, and no other file or process may remain.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import psutil
from abuse.bench import Bench
from abuse.child import POLL, Limits, Outcome
from abuse.judge import TRACEBACK, differing, files_of, last_line
from abuse.many import RANDOM, launch, left_behind, ranks
from abuse.material import CPU, FEATURES, Material

RESTARTS = 100
FAULTS = ("bytes that differ", "files left", "processes left", "failed", "tracebacks")
COMMANDS = {
    "train": (
        *("train", "digits", "--data", "digits", "--out", "run", "--steps", 300, *CPU),
        *("--set", "train.save_every_steps=20", "watch.every_steps=50"),
    ),
    "sample": ("sample", "run", "--count", 5000, "--steps", 20, "--out", "samples", *CPU),
    "evaluate": (
        *("evaluate", "samples", "--reference", "digits", "--features", "feats.py:pool"),
        *("--out", "scores.json", *CPU),
    ),
}


def main() -> int:
    """Run the soak, and print its table; return the exit status."""
    options = arguments()
    random, work = Random(options.seed), Path(tempfile.mkdtemp(prefix="soak-"))
    bench = Bench(options.seed, Material(work), work / "trials", work, Limits(seconds=3600))
    counts = Counter[str](dict.fromkeys(FAULTS, 0))
    try:
        whole, seconds = rounds(bench, "whole", counts, None)
        print(f"undisturbed: {', '.join(f'{name} {s:.0f} s' for name, s in seconds.items())}")
        end = time.monotonic() + 60 * options.minutes
        number = 0
        while time.monotonic() < end:
            killer = Killer(random, options.every, counts)
            round_files, _ = rounds(bench, f"round {number}", counts, killer)
            for name, files in round_files.items():
                for fault in differing(whole[name], files, RANDOM):
                    counts[fault.column] += 1
                    print(f"round {number}, {name}: {fault.column}: {fault.what}")
            number += 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("\n| | |\n|---|---|")
    for name, count in sorted(counts.items()):
        print(f"| {name} | {count} |")
    return int(any(counts[name] for name in FAULTS))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=120, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Killer:
    """Kills a random rank of a running command when it is time."""

    def __init__(self, random: Random, every: float, counts: "Counter[str]") -> None:
        self.random, self.every, self.counts = random, every, counts
        self.due = time.monotonic() + every * random.random()

    def kill(self, running: list[psutil.Process]) -> None:
        if running and time.monotonic() > self.due:
            self.random.choice(running).kill()
            self.counts["kills"] += 1
            self.due += self.every


def rounds(
    bench: Bench, name: str, counts: "Counter[str]", killer: Killer | None
) -> tuple[dict[str, dict[str, str]], dict[str, float]]:
    """Run each command in turn; return the files after each, and its seconds."""
    folder, files, seconds = bench.folder(name), dict[str, dict[str, str]](), dict[str, float]()
    (folder / "feats.py").write_text(FEATURES)
    for verb, words in COMMANDS.items():
        started = launch(bench, folder, words, restarts=RESTARTS, name=verb)
        while started.running:
            if killer is not None:
                killer.kill(ranks(started))
            time.sleep(POLL)
        outcome = started.wait()
        judge(outcome, verb, counts)
        counts["processes left"] += len(left_behind(folder))
        files[verb], seconds[verb] = files_of(folder), outcome.seconds
        counts[f"commands: {verb}"] += 1
    bench.done(folder)
    return files, seconds


def judge(outcome: Outcome, verb: str, counts: "Counter[str]") -> None:
    counts["restarts"] += outcome.err.count("failed (exitcode:")
    counts["failed"] += int(outcome.status != 0)
    counts["tracebacks"] += int(TRACEBACK in outcome.err + outcome.out)
    if outcome.status or TRACEBACK in outcome.err:
        print(f"{verb}: {outcome.status}: {last_line(outcome.err)}\n{outcome.err[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
