"""Engines -> docs/results/engines.md: what the same commands end with under each, and its seconds.

    python benchmarks/engines.py --docs docs
    python benchmarks/engines.py --only ray torchrun --count 200
    python benchmarks/engines.py --so-far --docs docs

Needs accelerate, ray[train] and submitit. An engine that is not installed is left out. Measured
figures are stored in --out, and not measured again. Run it on a machine that is otherwise idle.
"""

import argparse
import math
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil
from results_page import between, table
from safetensors.torch import load_file

from adm.runs.processor import described
from adm.store.files import write_json, write_text
from adm.store.hashes import read_sums, sha256_of
from adm.store.parsed import as_type, read_json

EXAMPLES = Path(__file__).parents[1] / "examples"
PAGE, STORED = "results/engines.md", "results/engines/engines.json"
MADE = "python benchmarks/engines.py"
PACKAGES = ("torch", "accelerate", "ray", "submitit")
ROOT_MAY = {f"OMPI_ALLOW_RUN_AS_ROOT{end}": "1" for end in ("", "_CONFIRM")}  # as in a container
WEIGHTS = ".safetensors"
ALONE = "one process"
STEPS, SAVED = 30, 10  # of the runs, and the step after which one is interrupted
FEW = f"train.save_every_steps={SAVED} watch.images=0 train.precision=float32 train.warmup_steps=5"


class Job(NamedTuple):
    """A command of `adm`.

    Attributes:
        title: of its column.
        alone: words of one process, which divides the batch as two do.
        like: the job whose single process it is compared with; None for its own.
        interrupted: whether its processes are interrupted after the first checkpoint.
    """

    title: str
    words: str
    alone: str = ""
    like: str | None = None
    interrupted: bool = False


DIGITS = f"train digits --steps {STEPS} --set {FEW} watch.validation_images=64"
JOBS = {
    "diffusion": Job("diffusion", DIGITS, alone="--micro-batch 32"),
    "interrupted": Job("the same, interrupted", DIGITS, like="diffusion", interrupted=True),
    "distillation": Job(
        "distillation",
        f"train fashion-distilled --teacher fashion --steps 10 --set {FEW} train.batch_size=4 "
        "watch.validation_images=8",
        alone="--micro-batch 2",
    ),
    "samples": Job("images", "sample fashion-fast --steps 2 --count {count} --precision float32"),
}


class Engine(NamedTuple):
    """What starts the processes.

    Attributes:
        title: of its row.
        command: the words of `adm` -> the command that starts it.
        package: without which it is left out.
        victim: part of the command lines of the processes that an interruption is sent to.
        sent: the interruption; SIGKILL is for the youngest of these processes, others for all.
        jobs: those that it does.
    """

    title: str
    command: Callable[[list[str]], list[str]]
    package: str = "torch"
    victim: str = "-m adm"
    sent: signal.Signals = signal.SIGKILL
    jobs: Sequence[str] = tuple(JOBS)


def python(*words: object) -> Callable[[list[str]], list[str]]:
    """Python with these words before those of `adm`."""
    return lambda adm: [sys.executable, *map(str, words), *adm]


def torchrun(processes: int) -> Callable[[list[str]], list[str]]:
    meet = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--max-restarts", 3)
    return python("-m", "torch.distributed.run", "--nproc-per-node", processes, *meet, "-m", "adm")


def ray(adm: list[str]) -> list[str]:
    verb, *words = adm
    return [sys.executable, str(EXAMPLES / f"ray_{verb}.py"), "2", *words]


def accelerate(*words: str) -> Callable[[list[str]], list[str]]:
    two = ("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no")
    start = ("-m", "accelerate.commands.launch", *two, "--dynamo_backend", "no", *words)
    return python(*start, "-m", "adm")


def array(adm: list[str]) -> list[str]:
    each = 'SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=2 bash "$0" "$@"'
    script = f"for i in 1 2; do {each} & done; wait"
    return ["bash", "-c", script, str(EXAMPLES / "slurm-array.sh"), *adm[1:]]


WHOLE = ("diffusion", "distillation")
ENGINES = {
    "alone": Engine(ALONE, python("-m", "adm")),
    "whole": Engine(f"{ALONE}, whole batch", python("-m", "adm"), jobs=WHOLE),
    "torchrun": Engine("torchrun", torchrun(2)),
    "four": Engine("torchrun, 4 processes", torchrun(4), jobs=("diffusion", "samples")),
    "accelerate": Engine(
        "accelerate launch", accelerate("--multi_gpu", "--max_restarts", "3"), "accelerate"
    ),
    "ray": Engine("Ray", ray, "ray", "ray::RayTrainWorker"),
    "submitit": Engine(
        "submitit", python(EXAMPLES / "slurm.py", 1, 2), "submitit", "submitit.core", signal.SIGUSR2
    ),
    "array": Engine("array of shards", array, jobs=("samples",)),
}


@dataclass(frozen=True)
class Measured:
    """What one engine did of one job.

    Attributes:
        seconds: from the start of the command to its end, a second call of it included.
        same: whether all bytes of weights and optimizer, or of the sample folder, are those of one
            process; None of one process itself.
        difference: from its weights, relative to them (L2 norms); None if the bytes are the same,
            and of images.
        digest: of these bytes, by which engines are compared with each other.
        calls: of the command; two where the engine does not start what was interrupted again.
    """

    job: str
    engine: str
    seconds: float
    same: bool | None
    difference: float | None
    digest: str
    calls: int


@dataclass(frozen=True)
class Record:
    """Everything on the page.

    Attributes:
        load: of the machine by other work, before the first measurement.
    """

    processor: str
    cores: int
    load: float
    count: int
    versions: dict[str, str]
    measured: list[Measured]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/engines"))
    parser.add_argument("--only", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--count", type=int, default=2000, help="images that are sampled")
    parser.add_argument("--so-far", action="store_true", help="measure nothing")
    parser.add_argument("--docs", type=Path, help="folder of the page to write to")
    args = parser.parse_args()
    file = args.out / Path(STORED).name
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    record = Record(described(), cores, load, args.count, installed(), [])
    if file.exists():
        record = as_type(Record, read_json(file))
    if not args.so_far:
        args.out.mkdir(parents=True, exist_ok=True)
        measure(record, args.out.resolve(), args.only, args.jobs)
    print(shown(record))
    if args.docs is not None:
        page = args.docs / PAGE
        write_text(page, between(page.read_text("utf-8"), "engines", shown(record), MADE))
        (args.docs / STORED).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, args.docs / STORED)


def installed() -> dict[str, str]:
    """Return package -> version, of those that are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def measure(record: Record, out: Path, engines: Sequence[str], jobs: Sequence[str]) -> None:
    """Run what has not been measured, the single process first; store each figure at once."""
    (out / "hosts").write_text("localhost slots=2\n")
    record.versions.update(installed())
    done = {(each.engine, each.job) for each in record.measured}
    requested = {*jobs, *(JOBS[job].like for job in jobs)}
    for name in ENGINES:
        jobs_of = [job for job in ENGINES[name].jobs if job in requested]
        missing = [job for job in jobs_of if (name, job) not in done]
        if name not in {"alone", *engines} or not missing:
            continue
        if reason := lacking(name):
            print(f"{name} is left out: {reason}")
            continue
        for job in missing:
            record.measured.append(measured(name, job, record.count, out))
            write_json(out / Path(STORED).name, asdict(record))


def lacking(name: str) -> str | None:
    """Return what an engine lacks on this machine; None for nothing."""
    package = ENGINES[name].package
    return None if package in installed() else f"pip install {package}"


def measured(name: str, job: str, count: int, out: Path) -> Measured:
    """Run one job under one engine, and compare what it ends with."""
    engine, what, place = ENGINES[name], JOBS[job], out / f"{job}-{name}"
    shutil.rmtree(place, ignore_errors=True)
    words = [*shlex.split(what.words.format(count=count)), "--device", "cpu", "--out", str(place)]
    if name == "alone":
        words += shlex.split(JOBS[what.like or job].alone)
    command, calls, started = engine.command(words), 0, time.monotonic()
    print("$", shlex.join(command), flush=True)
    while True:
        calls += 1
        process = start(command, out)
        if what.interrupted and calls == 1:
            interrupt(process, engine, place)
        if process.wait() == 0:
            break
        if not what.interrupted or calls > 1:
            raise RuntimeError(f"{engine.title}, {what.title}: failed, see {out / 'printed'}")
    seconds = time.monotonic() - started
    reference = out / f"{what.like or job}-alone"
    if place == reference:
        return Measured(job, name, seconds, None, None, digest(place), calls)
    same = digest(place) == digest(reference)
    images = what.words.startswith("sample")
    apart = None if same or images else difference(newest(place), newest(reference))
    print(f"{seconds:.1f} s, {'the same' if same else f'{apart} apart'}", flush=True)
    return Measured(job, name, seconds, same, apart, digest(place), calls)


def start(command: list[str], out: Path) -> psutil.Popen:
    """Start a command, one thread a process; what it prints goes to a file."""
    prefixes = {"PYTHONPATH": EXAMPLES, "PATH": Path(sys.executable).parent}
    paths = {name: f"{one}{os.pathsep}{os.environ.get(name, '')}" for name, one in prefixes.items()}
    own = {"OMP_NUM_THREADS": "1", **paths, **ROOT_MAY}
    with (out / "printed").open("ab") as printed:
        return psutil.Popen(
            command, cwd=out, env=os.environ | own, stdout=printed, stderr=subprocess.STDOUT
        )


def interrupt(process: psutil.Popen, engine: Engine, run: Path) -> None:
    """Interrupt a run when it has saved its first checkpoint."""
    while not (run / "checkpoints" / f"step-{SAVED:07}").exists():
        if process.poll() is not None:
            raise RuntimeError(f"{engine.title} ended before it was interrupted")
        time.sleep(0.01)
    processes = sorted([process, *process.children(recursive=True)], key=psutil.Process.create_time)
    ranks = [each for each in processes if engine.victim in " ".join(each.cmdline())]
    for rank in ranks[-1:] if engine.sent is signal.SIGKILL else ranks:
        rank.send_signal(engine.sent)


def digest(place: Path) -> str:
    """Return a hash of what a run ends with, weights and moments, or of a sample folder."""
    run = (place / "checkpoints").is_dir()
    sums = read_sums(newest(place) if run else place)
    assert sums
    files = (f"{hash_}  {name}\n" for name, hash_ in sorted(sums.items()))
    return sha256_of("".join(one for one in files if not run or WEIGHTS in one).encode())


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def difference(checkpoint: Path, reference: Path) -> float:
    """Return the distance of all weights and averages, relative to their L2 norm."""
    apart, size = 0.0, 0.0
    for file in reference.rglob(f"*{WEIGHTS}"):
        if "optimizer" not in file.name:
            one, other = load_file(file), load_file(checkpoint / file.relative_to(reference))
            apart += sum(float((other[name] - one[name]).double().square().sum()) for name in one)
            size += sum(float(each.double().square().sum()) for each in one.values())
    return math.sqrt(apart / size)


def shown(record: Record) -> str:
    """Return the table of all measurements, and the machine."""
    by_job = {(each.engine, each.job): each for each in record.measured}
    rows = [["", *(job.title for job in JOBS.values())], ["---", *["--:"] * len(JOBS)]]
    for name, engine in ENGINES.items():
        cells = [cell(by_job.get((name, job))) for job in JOBS]
        if any(cells):
            rows.append([engine.title, *cells])
    where = ", ".join(f"{package} {number}" for package, number in record.versions.items())
    machine = f"{record.processor}, {record.cores} cores, load {record.load:.1f} at the start"
    note = f"{record.count:,} images. {machine}, {where}."
    return f"{table(rows)}\n\n{note}"


def cell(one: Measured | None) -> str:
    if one is None:
        return ""
    same = {None: "", True: "same, ", False: f"{one.difference or 0:.0e}, "}[one.same]
    return f"{same}{one.seconds:.0f} s{' (twice)' * (one.calls > 1)}"


if __name__ == "__main__":
    main()
