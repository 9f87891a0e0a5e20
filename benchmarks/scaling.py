"""Recipes of the paper, and small steps measured here -> docs/results/scaling.md.

    python benchmarks/scaling.py                       # measures, and writes the page: 6 minutes
    python benchmarks/scaling.py --so-far              # writes the page from stored figures
    python benchmarks/scaling.py --rounds 2 --figures /tmp/scaling.json

Figures are stored in docs/results/data/scaling.json. The steps are of the training loop's update,
with a small ADM network in float32 on a CPU, in 1, 2 or 4 processes of one thread each that
torchrun starts. `scaling_model` has the model, `scaling_page` the tables and the plot.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import data as photographs
import numpy as np
import scaling_page
import torch
import torch.distributed as dist
from scaling_model import (
    STATE,
    Collective,
    Counts,
    Machine,
    Plan,
    Wire,
    count,
    count_call,
    step,
    traffic,
)
from scipy.optimize import nnls

from adm.app.processor import described
from adm.data import open_source
from adm.data.pack import Packing, pack
from adm.data.registry import find
from adm.data.source import processors
from adm.processes import Devices, join, launched, leave
from adm.recipes import ClassifierRecipe, DiffusionRecipe, build, recipe
from adm.recipes.schema import override
from adm.store.files import write_text
from adm.training.batches import blank, draw
from adm.training.players import RunState
from adm.training.update import StepSettings, update

ROOT = Path(__file__).parent.parent
STORED = ROOT / "docs" / "results" / "data" / "scaling.json"
SIDES = (64, 128, 256, 512)
RANKS = (1, 2, 4)
WARM_UP = 2  # rounds that are not timed
KINDS: tuple[Collective, ...] = ("all_reduce", "all_gather", "reduce_scatter")
SIZES = tuple(4**power for power in range(5, 13))  # bytes of the calls
FILES, BLOCK = 128, 2**28  # images that are decoded; bytes that are written to the disk


class Job(NamedTuple):
    """A step that is measured."""

    way: str  # ddp, fsdp, or alone: of every process for itself, all at once
    width: int
    images: int  # a process


MIDDLE = Job("alone", 48, 4)  # whose time in several processes is their slowdown
SHARDED = Job("fsdp", 48, 4)  # whose time in two is FSDP's own
FITTED: dict[int, tuple[Job, ...]] = {
    1: (*(Job("alone", width, images) for width in (32, 64) for images in (2, 8)), MIDDLE),
    2: (MIDDLE, SHARDED),
    4: (MIDDLE,),
}
PREDICTED: dict[int, tuple[Job, ...]] = {
    1: (Job("alone", 32, 16), Job("alone", 64, 4), Job("alone", 96, 2)),
    2: (
        *(Job("ddp", *size) for size in ((32, 2), (32, 8), (48, 4), (64, 2), (64, 8))),
        *(Job("fsdp", *size) for size in ((32, 2), (64, 2), (64, 8))),
    ),
    4: (Job("ddp", 32, 4), Job("ddp", 64, 2), Job("fsdp", 32, 4), Job("fsdp", 64, 2)),
}


def small(width: int) -> DiffusionRecipe:
    """Return the paper's 64x64 network for 32x32 images, narrower and with one block a level."""
    settings = [f"unet.channels={width}", "unet.depth=1", "unet.dropout=0", "unet.norm_groups=16"]
    settings += ["unet.heads.channels_per_head=16", "data.size=32,32", "train.precision=float32"]
    chosen = override(recipe("64x64-diffusion"), settings)
    assert isinstance(chosen, DiffusionRecipe)
    return chosen


def step_seconds(job: Job, devices: Devices, rounds: int) -> float:
    """Return the median seconds of a step, which all processes begin at once."""
    chosen = small(job.width)
    own = Devices(devices.device) if job.way == "alone" else devices
    networks = build.networks(chosen)
    state = RunState(build.players(chosen, networks, own, sharded=job.way == "fsdp"))
    turn = build.turn(chosen, state, own.device)
    batch = blank(job.images, (chosen.data.channels, *chosen.data.size))
    how = StepSettings(own, job.images * own.world, job.images)

    def taken() -> None:
        turn(state, batch, partial(update, how=how))
        state.model.ema.update(state.model.network, 0)

    return timed(taken, devices, rounds)


def call_seconds(kind: Collective, size: int, devices: Devices, rounds: int) -> float:
    """Return the median seconds of a collective call on float32 numbers of `size` bytes."""
    whole, part = torch.ones(size // 4), torch.ones(size // 4 // devices.world)
    calls: dict[Collective, Callable[[], Any]] = {
        "all_reduce": lambda: dist.all_reduce(whole),
        "all_gather": lambda: dist.all_gather_into_tensor(whole, part),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, whole),
    }
    return timed(calls[kind], devices, rounds)


def timed(work: Callable[[], Any], devices: Devices, rounds: int) -> float:
    taken = []
    for _ in range(WARM_UP + rounds):
        if devices.world > 1:
            dist.barrier()
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[WARM_UP:])


def measure_here(rounds: int) -> None:
    """Measure all steps and calls of as many processes as there are, and print them as JSON."""
    torch.set_num_threads(1)
    devices = join(torch.device("cpu")) if launched() else Devices(torch.device("cpu"))
    ranks = devices.world
    jobs = (*FITTED[ranks], *PREDICTED[ranks])
    steps = [[ranks, *job, step_seconds(job, devices, rounds)] for job in jobs]
    calls = [
        [ranks, kind, size, call_seconds(kind, size, devices, 2 * rounds)]
        for kind in KINDS * (ranks > 1)
        for size in SIZES
    ]
    if devices.main:
        print(json.dumps({"steps": steps, "calls": calls}), flush=True)
    leave()


def measure(rounds: int) -> dict[str, Any]:
    """Return the measurements of this machine, and the counts of the recipes."""
    figures: dict[str, Any] = {"machine": machine(), "steps": [], "calls": []}
    for ranks in RANKS:
        several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        command = [sys.executable, "-m", *several, __file__, "--here", "--rounds", str(rounds)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        own = json.loads(done.stdout)
        figures["steps"] += own["steps"]
        figures["calls"] += own["calls"]
    figures["small"] = {width: count(small(width), traced=False) for width in (32, 48, 64, 96)}
    figures["models"] = {side: counted(side) for side in SIDES}
    figures["upsamplers"] = {
        name: count(_diffusion(f"{name}-upsampler"), traced=False) for name in ("64-256", "128-512")
    }
    return figures | {"data": decoded(rounds), "disk": written(rounds)}


def machine() -> str:
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{processors()} cores of {described()}; {versions}"


def counted(side: int) -> dict[str, Any]:
    """Count training with and without recomputed activations, and a guided call of sampling."""
    chosen, guide = _diffusion(f"{side}x{side}-diffusion"), recipe(f"{side}x{side}-classifier")
    assert isinstance(guide, ClassifierRecipe)
    again = override(chosen, ["train.checkpoint_activations=true"])
    assert isinstance(again, DiffusionRecipe)
    call = count_call(chosen, guide)
    return {"stored": count(chosen), "recomputed": count(again), "call": call}


def _diffusion(name: str) -> DiffusionRecipe:
    chosen = recipe(name)
    assert isinstance(chosen, DiffusionRecipe)
    return chosen


def decoded(rounds: int) -> dict[int, dict[str, float]]:
    """Return by side the core seconds of an image: decoded, packed at its size, and drawn."""
    times = {}
    with tempfile.TemporaryDirectory() as place:
        files = Path(place, "files")
        files.mkdir()
        photographs.photographs(files, FILES)
        size = statistics.mean(path.stat().st_size for path in files.rglob("*.jpg"))
        for side in SIDES:
            packed = Path(place, str(side))
            pack(find(str(files)), packed, Packing((side, side), format="jpeg"))
            sources = {
                "file": open_source(str(files), size=(side, side)),
                "packed": open_source(str(packed), size=(side, side)),
            }
            rows = list(range(FILES))
            works: dict[str, Callable[[], Any]] = {
                name: partial(source.batch, rows) for name, source in sources.items()
            }
            works["draw"] = partial(draw, 0, 0, FILES, (3, side, side))
            times[side] = {name: seconds(work, rounds) / FILES for name, work in works.items()}
            times[side]["bytes"] = size
    return times


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Return the least processor seconds of some calls, all threads together."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def written(rounds: int) -> float:
    """Return the bytes a second that are written to a file and reach the disk."""
    block, taken = os.urandom(BLOCK), []
    with tempfile.TemporaryDirectory(dir=STORED.parent) as place:
        for number in range(min(rounds, 3)):
            started = time.perf_counter()
            with Path(place, str(number)).open("wb") as file:
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return BLOCK / statistics.median(taken)


def fitted(figures: dict[str, Any]) -> Machine:
    """Return this machine's rates, fitted to `FITTED` steps and to the calls of two processes."""
    times = {(ranks, Job(*job)): taken for ranks, *job, taken in figures["steps"]}
    rows = []
    for job in FITTED[1]:
        counts, taken = of_width(figures, job), times[1, job]
        terms = (counts.issued, job.images * counts.operations, STATE * counts.parameters)
        rows.append([term / taken for term in terms])  # relative errors count
    dispatch, operation, moved = _factors(rows)
    slowdown = {ranks: times[ranks, MIDDLE] / times[1, MIDDLE] for ranks in RANKS}
    wires = {kind: [_wire(figures, kind, slowdown[2])] for kind in KINDS}
    rates = (_rate(operation), dispatch, _rate(moved))
    first = Machine(*rates, wires, asynchronous=False, slowdown=slowdown)
    counts = of_width(figures, SHARDED)
    without = step(counts, Plan(2, 2 * SHARDED.images, sharded=True), first).seconds
    calls = 3 * len(counts.groups) - 1
    hook = max(0.0, (times[2, SHARDED] - without) / slowdown[2] / calls)
    return Machine(*rates, wires, asynchronous=False, slowdown=slowdown, hook=hook)


def of_width(figures: dict[str, Any], job: Job) -> Counts:
    return Counts(*figures["small"][str(job.width)])


def _wire(figures: dict[str, Any], kind: str, slowdown: float) -> Wire:
    """Fit a call's seconds by its hops and by the bytes that a rank sends."""
    rows = []
    for ranks, own, size, taken in figures["calls"]:
        if (ranks, own) == (2, kind):
            hops = 2 if kind == "all_reduce" else 1
            rows.append([each / taken * slowdown for each in (hops, traffic(own, size, ranks))])
    hop, byte = _factors(rows)
    return Wire(0.0, hop, _rate(byte))


def _factors(rows: list[list[float]]) -> list[float]:
    """Return the factors, none below zero, by which each row adds up to one, in least squares."""
    factors, _ = nnls(np.array(rows), np.ones(len(rows)))
    return factors.tolist()


def _rate(seconds: float) -> float:
    return 1 / seconds if seconds else math.inf  # too fast to be seen


def predictions(figures: dict[str, Any], machine: Machine) -> list[tuple[int, Job, float, float]]:
    """Return ranks, step, measured and predicted seconds of the steps not used in the fit."""
    rows = []
    for ranks, *own, taken in figures["steps"]:
        job = Job(*own)
        if job in PREDICTED[ranks]:
            plan = Plan(ranks, ranks * job.images, sharded=job.way == "fsdp")
            rows.append((ranks, job, taken, step(of_width(figures, job), plan, machine).seconds))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--so-far", action="store_true", help="measure nothing")
    parser.add_argument(
        "--figures",
        type=Path,
        default=STORED,
        help="file of figures; only the default updates the page",
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        measure_here(args.rounds)
        return
    if not args.so_far:
        write_text(args.figures, json.dumps(measure(args.rounds), indent=1) + "\n")
    figures = json.loads(args.figures.read_text("utf-8"))
    cpu = fitted(figures)
    tables = scaling_page.tables(figures, cpu, predictions(figures, cpu))
    print("\n\n".join(tables.values()))
    if args.figures == STORED:
        scaling_page.write(ROOT / "docs", figures, cpu, tables)


if __name__ == "__main__":
    main()
