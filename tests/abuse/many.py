"""Command of several processes, fault -> it continues or restarts, and writes the same bytes.

`make abuse ARGS="--only many"`; these rows take minutes and are left out without it. The launcher
is torchrun, with restarts, or none, where processes are shards.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import psutil
from abuse import disks
from abuse.bench import Bench, Result, Row
from abuse.child import POLL, Child, Outcome
from abuse.judge import TRACEBACK, Fault, differing, faults_of, files_of, last_line
from abuse.material import CPU
from abuse.verbs import on_disk

EACH = 20  # trials of a row
STEPS, FEW = 40, 12
CLOSE = 1e-3  # relative difference of losses by the order of sums in float32, in so few steps
SECONDS = 240.0  # until a command with restarts hangs
SETTLE_S = 5.0  # for Ray to end its processes
RAY, WORKER = str(Path(__file__).parents[2] / "examples/ray_train.py"), "ray::RayTrainWorker"
TRAIN = ("train", "recipe.json", "--data", "data.npz", "--out", "out", "--hold-out", "0.2", *CPU)
SAMPLE = (
    *("sample", "model.safetensors", "--count", 96, "--steps", 20, "--out", "out"),
    *CPU,
)
FORMS: tuple[tuple[str, ...], ...] = ((), ())  # further options of a training, in turn
EXACT = "train.precision=float32"
# The header of a shard has its entries in a random order, and the cache is not of the run.
RANDOM = ("checkpoints/*/shards/*", "checkpoints/*/SHA256SUMS", "cache/*/*")


@dataclass(frozen=True)
class Whole:
    """What commands write undisturbed.

    Attributes:
        trained: files of a run of two processes, by whether its weights are sharded.
        written: bytes that each takes on a disk.
        losses: of a run of one process.
        sampled: files of a sampling.
        seconds: that it took.
    """

    trained: tuple[dict[str, str], ...]
    written: tuple[int, ...]
    losses: np.ndarray
    sampled: dict[str, str]
    seconds: float


def rows(bench: Bench) -> dict[str, Row]:
    """Return the rows of the table."""
    whole = undisturbed(bench)
    trials = {
        "many, one killed": killed,
        "many, other numbers": numbers,
        "many, shard moved": moved,
        "many, full disk": full,
    }
    if find_spec("ray") is not None:
        trials["many, Ray worker killed"] = lost
    return {name: Row(partial(trial, whole=whole), EACH) for name, trial in trials.items()}


def undisturbed(bench: Bench) -> Whole:
    """Run each command once, undisturbed."""
    trained, written = [], []
    for form in FORMS:
        folder, before = ready(bench, "two")
        done(launch(bench, folder, (*TRAIN, *steps(STEPS), *form)))
        trained.append(files_of(folder))
        written.append(on_disk(folder) - before)
        bench.done(folder)
    folder, _ = ready(bench, "one")
    done(launch(bench, folder, (*TRAIN, *steps(FEW), EXACT), processes=1))
    alone = losses(folder)
    bench.done(folder)
    folder, _ = ready(bench, "samples")
    seconds = done(bench.start(folder, ("-q", *SAMPLE))).seconds
    sampled = files_of(folder)
    bench.done(folder)
    return Whole(tuple(trained), tuple(written), alone, sampled, seconds)


def ready(bench: Bench, name: str) -> tuple[Path, int]:
    """Return a new folder with the inputs, and the bytes that it takes on a disk."""
    folder = bench.folder(f"whole {name}")
    fill(bench, folder)
    return folder, on_disk(folder)


def fill(bench: Bench, folder: Path) -> None:
    for name in ("recipe.json", "data.npz", "model.safetensors"):
        bench.material.put(name, folder)


def steps(count: int) -> tuple[str, ...]:
    return ("--set", f"train.steps={count}", "train.save_every_steps=3", "train.anneal=false")


def done(started: Child) -> Outcome:
    outcome = started.wait()
    if outcome.status:
        raise RuntimeError(f"a command fails undisturbed: {outcome.err}")
    return outcome


def launch(
    bench: Bench,
    folder: Path,
    words: Sequence[object],
    *,
    processes: int = 2,
    restarts: int = 0,
    name: str = "launched",
) -> Child:
    """Start the program under torchrun in a folder."""
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, "-m", *torchrun, f"--max-restarts={restarts}", "-m", "adm", "-q"]

    def work() -> None:
        os.chdir(folder)
        set_environment(folder)
        os.execv(command[0], [*command, *map(str, words)])

    return patient(bench).run(folder, work, name)


def set_environment(folder: Path) -> None:
    os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder / "home")}
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1"}


def patient(bench: Bench) -> Bench:
    """Return a bench with limits that suit launchers."""
    limits = replace(bench.limits, seconds=SECONDS, memory=1 << 40, address_space=1 << 46)
    return replace(bench, limits=limits)


def ranks(started: Child, word: str = "adm") -> list[psutil.Process]:
    """Return the processes that a launcher has started, by rank.

    Args:
        word: of their command lines.
    """
    try:
        below = psutil.Process(started.pid).children(recursive=True)
        return sorted((each for each in below if word in each.cmdline()), key=lambda each: each.pid)
    except psutil.Error:
        return []


def losses(folder: Path) -> np.ndarray:
    lines = (folder / "out" / "log.jsonl").read_text("utf-8").splitlines()
    return np.array([json.loads(line)["loss"] for line in lines])


def trained_steps(folder: Path) -> int:
    """Return how many lines a log has."""
    log = folder / "out" / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def at(started: Child, folder: Path, count: int, random: Random) -> bool:
    """Wait until a run has done `count` steps, and a moment more; return whether it still runs."""
    while started.running and trained_steps(folder) < count:
        time.sleep(POLL)
    time.sleep(random.uniform(0, 0.03))
    return started.running


def left_behind(folder: Path) -> list[Fault]:
    """Return a fault for each process that still works in a folder; end it."""
    faults = []
    for process in psutil.process_iter(["pid", "cwd", "cmdline"]):
        if process.info["cwd"] == str(folder):
            faults.append(
                Fault("files left", f"a process: {' '.join(process.info['cmdline'] or ())}")
            )
            process.kill()
    return faults


def judged(outcome: Outcome, folder: Path, expected: dict[str, str]) -> list[Fault]:
    """Return the faults of a command that should succeed, and of its files."""
    if outcome.hung:
        return [Fault("hangs", last_line(outcome.err)), *left_behind(folder)]
    faults = left_behind(folder)
    if outcome.status:
        faults.append(Fault("wrong exits", f"{outcome.status}: {last_line(outcome.err)}"))
    if TRACEBACK in outcome.err + outcome.out:
        faults.append(Fault("tracebacks", last_line(outcome.err)))
    return faults + (differing(expected, files_of(folder), RANDOM) if not outcome.status else [])


def killed(bench: Bench, random: Random, number: int, folder: Path, whole: Whole) -> Result:
    """Kill one of two ranks at a random step; torchrun starts both again."""
    fill(bench, folder)
    form, rank, step = number % 2, random.randrange(2), random.randrange(1, STEPS - 2)
    started = launch(bench, folder, (*TRAIN, *steps(STEPS), *FORMS[form]), restarts=3)
    running = at(started, folder, step, random)
    for process in ranks(started)[rank : rank + 1]:
        process.kill()
    outcome = started.wait()
    faults = judged(outcome, folder, whole.trained[form])
    what = f"rank {rank} at step {step} {' '.join(FORMS[form])}"
    return Result(faults, (outcome.status,), what, "" if running else "the run had ended")


def lost(bench: Bench, random: Random, number: int, folder: Path, whole: Whole) -> Result:
    """Kill one of two workers of Ray at a random step; Ray starts both again."""
    fill(bench, folder)
    rank, step = random.randrange(2), random.randrange(1, STEPS - 2)
    words = [sys.executable, RAY, "2", *map(str, (*TRAIN[1:], *steps(STEPS)))]

    def work() -> None:
        os.chdir(folder)
        set_environment(folder)
        os.execv(words[0], words)

    started = patient(bench).run(folder, work, "ray")
    running = at(started, folder, step, random)
    for process in ranks(started, WORKER)[rank : rank + 1]:
        process.kill()
    outcome = started.wait()
    time.sleep(SETTLE_S)
    for name in ("ray", "home/.ray"):  # its records and its token
        shutil.rmtree(folder / name, ignore_errors=True)
    faults = judged(replace(outcome, err="", out=""), folder, whole.trained[0])
    if outcome.status:
        faults.append(Fault("wrong exits", last_line(outcome.err)))
    what = f"worker {rank} at step {step}"
    return Result(faults, (outcome.status,), what, "" if running else "the run had ended")


def numbers(bench: Bench, random: Random, number: int, folder: Path, whole: Whole) -> Result:
    """Lose the machine at a random step, and go on with 2, 4 and 1 processes instead of 1."""
    fill(bench, folder)
    words, step, statuses = (*TRAIN, *steps(FEW), EXACT), 0, list[int]()
    for processes in (1, 2, 4):
        form = FORMS[number % 2] if processes > 1 else ()
        step = random.randrange(step + 1, step + 4)
        started = launch(bench, folder, (*words, *form), processes=processes, name=f"{processes}")
        at(started, folder, step, random)
        for process in (*ranks(started), psutil.Process(started.pid)):
            process.kill()
        statuses.append(started.wait().status)
    outcome = launch(bench, folder, words, processes=1, name="last").wait()
    faults = faults_of(outcome, bench.limits, allowed=(0,)) + left_behind(folder)
    if not outcome.status:
        actual = losses(folder)
        if actual.shape != whole.losses.shape:
            faults.append(Fault("bytes that differ", f"{len(actual)} steps"))
        elif (worst := float(np.abs(actual / whole.losses - 1).max())) > CLOSE:
            faults.append(Fault("bytes that differ", f"a loss by {worst:.1e}"))
    return Result(faults, (*statuses, outcome.status), f"1, 2, 4, 1, last at step {step}")


def moved(bench: Bench, random: Random, number: int, folder: Path, whole: Whole) -> Result:
    """Kill a shard of a sampling at a random moment; others make its share, of other numbers."""
    fill(bench, folder)
    of, statuses = random.choice((2, 3)), list[int]()
    victim = bench.start(folder, ("-q", *SAMPLE, "--part", f"1/{of}"), name="killed")
    until = time.monotonic() + random.uniform(0.05, 0.8) * whole.seconds / of
    while victim.running and time.monotonic() < until:
        time.sleep(POLL)
    victim.signal(signal.SIGKILL)
    statuses.append(victim.wait().status)
    other = random.choice((1, 2, 4))
    faults = list[Fault]()
    for shard in random.sample(range(1, other + 1), other):
        words = ("-q", *SAMPLE, "--part", f"{shard}/{other}")
        outcome = bench.start(folder, words, name=f"shard-{shard}").wait()
        faults += faults_of(outcome, bench.limits, allowed=(0,))
        statuses.append(outcome.status)
    faults += left_behind(folder) + differing(whole.sampled, files_of(folder), RANDOM)
    late = "" if statuses[0] == -signal.SIGKILL else "the shard had ended"
    return Result(faults, tuple(statuses), f"1/{of} killed, then {other} shards", late)


def full(bench: Bench, random: Random, number: int, folder: Path, whole: Whole) -> Result:
    """Let the disk of two ranks fill up, and go on when there is room."""
    form = number % 2
    if not (disks.own_mounts() and disks.mount(folder, disks.ROOM)):
        return Result([], (), "", "the system does not let this user mount a disk")
    for each in ("cache", "home"):
        (folder / each).mkdir(exist_ok=True)
    fill(bench, folder)
    share = random.uniform(0.05, 0.95)
    room = disks.used(folder) + int(share * whole.written[form]) // 4096 * 4096
    disks.mount(folder, str(room))
    words = (*TRAIN, *steps(STEPS), *FORMS[form])
    outcome = launch(bench, folder, words, name="full").wait()
    faults = [Fault("hangs", last_line(outcome.err))] if outcome.hung else left_behind(folder)
    messages = [line for line in outcome.err.splitlines() if line.startswith("adm: ")]
    if outcome.status and not any(disks.NAMES_DISK.search(line) for line in messages):
        faults.append(Fault("bad lines", f"does not name the disk: {outcome.err[:300]!r}"))
    disks.mount(folder, disks.ROOM)
    again = launch(bench, folder, words, name="again").wait()
    faults += judged(again, folder, whole.trained[form])
    note = "" if outcome.status else "there was room"
    return Result(faults, (outcome.status, again.status), f"{share:.2f} of the room", note)
