"""Checkout of the released code -> table of training speed and memory of each implementation.

python benchmarks/training.py --released ~/guided-diffusion
python benchmarks/training.py --released ~/guided-diffusion --shapes 28 --trajectory 200

Each implementation runs in a process of its own. The processes take steps in turn, one at a time,
so that other work on the machine affects all of them alike, and the peak memory is that of one
implementation. The two rows of diffusers need `pip install diffusers` and are omitted without it.
"""

import argparse
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import steps
import torch

from adm.app.cli.training import keep_freed_memory
from adm.runs.processor import half_precision, processor

OURS, THEIRS = "adm, bfloat16", "released, float32"
CONTENDERS = (OURS, "adm, float32", THEIRS, "released, bfloat16 autocast")
HALF = ("adm, float16", "released, float16")  # on a GPU, as the paper's models were trained
DIFFUSERS = ("diffusers, float32", "diffusers, bfloat16 autocast")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
WARM_UP = 2  # steps that are not timed


class Taken(NamedTuple):
    """A measured step."""

    seconds: float
    loss: float
    peak_bytes: int  # of the whole run so far, over what the process held before its network


def build(name: str, shape: steps.Shape, device: torch.device, released: Path) -> steps.Step:
    system, _, precision = name.partition(", ")
    how, half = steps.bfloat16(device), precision == "float16"
    if precision == "float32" or (half and system == "released"):  # which casts by itself
        how = steps.float32
    elif half:
        how = steps.float16(device)
    if system == "adm":
        return steps.ours(shape, device, how, half)
    if system == "released":
        return steps.theirs(shape, device, how, released, half)
    return steps.diffusers(shape, device, how)


def contend(line: Connection, name: str, shape: steps.Shape, args: argparse.Namespace) -> None:
    """Take a step on each request and send its cost; runs in an implementation's process."""
    torch.set_num_threads(args.threads)
    chosen, clock = torch.device(args.device), CLOCKS[args.clock]
    if name.startswith("adm") and chosen.type == "cpu":
        keep_freed_memory()  # as `adm train` does
    before = 0 if chosen.type == "cuda" else resident_bytes("VmRSS")
    step, done = build(name, shape, chosen, args.released), 0
    line.send("ready")
    while line.recv():
        # Made at each step, so that no contender holds batches that another does not.
        (batch,) = steps.batches(shape, 1, chosen, seed=done)
        started = clock()
        loss = float(step(batch))  # a number only when the step is done
        seconds = clock() - started
        line.send(Taken(seconds, loss, peak_of(chosen) - before))
        done += 1


def peak_of(device: torch.device) -> int:
    cuda = device.type == "cuda"
    return torch.cuda.max_memory_allocated(device) if cuda else resident_bytes("VmHWM")


def resident_bytes(field: str) -> int:
    """Return this process's resident memory on Linux, `VmRSS` now or `VmHWM` at most (man 5 proc).

    That of `getrusage` would survive exec, so that a process starts with the peak of its parent.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"/proc/self/status has no {field}")


def race(names: tuple[str, ...], rounds: int, start: Callable[..., Any]) -> dict[str, list[Taken]]:
    """Take `rounds` steps of each implementation, in turn, after the warm-up."""
    lines: dict[str, Connection] = {}
    for name in names:
        lines[name] = start(name)
        assert lines[name].recv() == "ready"
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    for _ in range(WARM_UP + rounds):
        for name, line in lines.items():
            line.send(True)
            taken[name].append(line.recv())
    for line in lines.values():
        line.send(False)
    return taken


def started(shape: steps.Shape, args: argparse.Namespace) -> Callable[[str], Connection]:
    """Return a function that starts an implementation: its name -> the connection to it."""
    context = get_context("spawn")

    def start(name: str) -> Connection:
        parent, child = context.Pipe()
        arguments = (child, name, shape, args)
        context.Process(target=contend, args=arguments, daemon=True).start()
        return parent

    return start


def print_table(taken: dict[str, list[Taken]], batch_size: int) -> None:
    """Print medians, and quartiles over rounds of the ratio to the released code's step."""
    print("| | images a second | times the released speed (quartiles) | memory | of the released |")
    print("|---|---|---|---|---|")
    base = [t.seconds for t in taken[THEIRS][WARM_UP:]]
    base_peak = taken[THEIRS][-1].peak_bytes
    for name, own in taken.items():
        seconds = [t.seconds for t in own[WARM_UP:]]
        ratios = [theirs / ours for theirs, ours in zip(base, seconds, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {name} | {batch_size / statistics.median(seconds):.1f} | {middle:.2f} "
            f"({low:.2f} to {high:.2f}) | {own[-1].peak_bytes / 2**20:.0f} MiB | "
            f"{own[-1].peak_bytes / base_peak:.2f} |"
        )


def print_trajectory(taken: dict[str, list[Taken]], group: int = 20) -> None:
    """Print means of `group` losses of each implementation, and their differences."""
    names = list(taken)
    print(f"\n| steps | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    losses = {name: [t.loss for t in own] for name, own in taken.items()}
    for start in range(0, len(losses[THEIRS]), group):
        means = [f"{statistics.mean(losses[name][start : start + group]):.5f}" for name in names]
        print(f"| {start + 1} to {start + group} | {' | '.join(means)} |")
    for name in names:
        gaps = [abs(a - b) for a, b in zip(losses[name], losses[THEIRS], strict=True)]
        print(
            f"\n{name}: from the released losses, {statistics.mean(gaps):.2e} in the mean and "
            f"{max(gaps):.2e} at most",
            end="",
        )
    tail = losses[THEIRS][len(losses[THEIRS]) // 2 :]
    print(
        f"\n\nFrom batch to batch, losses of the second half deviate {statistics.stdev(tail):.2e}."
    )


def describe(args: argparse.Namespace) -> str:
    name = (
        torch.cuda.get_device_name()
        if args.device == "cuda"
        else ", ".join([processor(), *half_precision()])
    )
    return f"{name}, {args.threads} threads, torch {torch.__version__}, {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--released", type=Path, required=True, help="checkout of guided-diffusion")
    parser.add_argument("--shapes", nargs="+", choices=list(steps.SHAPES), default=["28", "64"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--batch-size", type=int, help="images per batch; that of the shape by default"
    )
    parser.add_argument(
        "--trajectory",
        type=int,
        metavar="STEPS",
        help="compare the losses of so many steps instead of speed",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="processor, with one thread, on a machine that does other work too",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    steps.released_code(args.released)  # a wrong path fails before anything is built
    names = CONTENDERS + HALF * args.device.startswith("cuda")
    names += DIFFUSERS if importlib.util.find_spec("diffusers") else ()
    print(describe(args))
    for key in args.shapes:
        shape = steps.SHAPES[key]
        shape = replace(shape, batch_size=args.batch_size or shape.batch_size)
        print(f"\n{key}x{key}, batches of {shape.batch_size}\n", flush=True)
        start = started(shape, args)
        if args.trajectory:
            print_trajectory(race(CONTENDERS, args.trajectory - WARM_UP, start))
        else:
            print_table(race(names, args.rounds, start), shape.batch_size)


if __name__ == "__main__":
    main()
