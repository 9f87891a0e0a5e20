"""Figures of scaling.json, rates of this machine and of GPUs -> tables and a plot of scaling.md."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from results_page import between, table
from scaling_model import BYTES, SAVED, Counts, Machine, Plan, Step, memory, nccl, step, traffic

from adm.app.study.plots import FAINT, LINES, STYLE
from adm.recipes import recipe
from adm.store.files import write_text

PAGE, PICTURE = "results/scaling.md", "images/scaling.png"
MADE = "python benchmarks/scaling.py"
GIB, MIB, DAY = 2**30, 2**20, 86_400
FRACTION, FRACTIONS = 0.35, (0.2, 0.35, 0.5)  # of the peak that the passes reach
USABLE = 0.9  # of the memory, the rest being of CUDA, NCCL and the allocator
MOVES = 0.8  # of the memory's rate, that optimizer and average reach
DISPATCH = 5e-6  # seconds to issue an operator
LARGE = 0.1  # of a step, from which on a part is named
RANKS = (1, 8, 64, 256, 1024)
IMAGES, CALLS, FEW = 50_000, 250, 10  # sampled; guided calls for each, and of a short way
V100 = 120e12  # operations a second, as the paper has it
# Appendix A of the paper: images a V100-second, ideal and reached (Table 7), and V100-days of the
# diffusion models (Table 10), of which the last is of both the 128x128 model and its upsampler.
IDEAL = {"64x64": 182.3, "128x128": 65.2, "256x256": 17.9, "64-256": 31.7, "128-512": 8.0}
REACHED = {"64x64": 74.1, "128x128": 24.8, "256x256": 6.4, "64-256": 9.5, "128-512": 2.3}
SPENT = {("128x128",): 521, ("256x256",): 916, ("128x128", "128-512"): 1878}


class Gpu(NamedTuple):
    """A card of a data sheet, in nodes of eight; bytes a second, and operations in 16 bits."""

    name: str
    peak: float
    memory: float
    state_rate: float
    near: float  # NVLink, in one direction, as NCCL reaches it
    far: float  # of a node's eight network cards
    cores: int  # of the node, for each card


GPUS = (
    Gpu("A100", 312e12, 80e9, 2.039e12, 235e9, 200e9, 16),
    Gpu("H100", 989.4e12, 80e9, 3.35e12, 235 / 300 * 450e9, 400e9, 14),
)


def machine_of(gpu: Gpu, cpu: Machine, data: dict[str, float], fraction: float) -> Machine:
    """Return a card's rates; decoding and drawing are as fast as they are on this machine."""
    return Machine(
        rate=fraction * gpu.peak,
        dispatch=DISPATCH,
        state_rate=MOVES * gpu.state_rate,
        wires=nccl(gpu.near, gpu.far),
        node=8,
        decode=data["file"],
        draw=data["draw"],
        cores=gpu.cores,
        memory=USABLE * gpu.memory,
        disk=cpu.disk,
    )


class Model:
    """A model of the paper: its counts, and how it is trained."""

    def __init__(self, figures: dict[str, Any], side: str) -> None:
        own = figures["models"][side]
        self.name, self.data = f"{side}x{side}", figures["data"][side]
        self.counts, self.recomputed = (Counts(*own[way]) for way in ("stored", "recomputed"))
        self.call = own["call"]
        self.train = recipe(f"{self.name}-diffusion").train

    def plan(self, machine: Machine, ranks: int, sharded: bool = False) -> Plan | None:
        """Return the plan of the most images a pass; None for more ranks than images."""
        batch = self.train.batch_size
        if ranks > batch:
            return None
        return Plan(ranks, batch, most_images(self.counts, machine, ranks, batch, sharded), sharded)

    def step(self, machine: Machine, plan: Plan) -> Step:
        return step(self.counts, plan, machine, self.train.save_every_steps)

    def efficiency(self, machine: Machine, plan: Plan) -> float:
        """Return the share of a step in which the images' operations run at the machine's rate."""
        ideal = plan.batch_size / plan.ranks * self.counts.operations / machine.rate
        return ideal / self.step(machine, plan).seconds

    def days(self, machine: Machine, plan: Plan) -> float:
        return self.step(machine, plan).seconds * self.train.steps / DAY


def most_images(
    counts: Counts, machine: Machine, ranks: int, batch: int, sharded: bool = False
) -> int:
    """Return the most images of a pass that fit; 0 if none does."""
    one = memory(counts, Plan(ranks, batch, 1, sharded)) - counts.per_image
    return max(0, int((machine.memory - one) // counts.per_image))


def tables(figures: dict[str, Any], cpu: Machine, predicted: Sequence[Any]) -> dict[str, str]:
    """Return the tables of the page, by name."""
    cpu = replace(cpu, disk=figures["disk"])
    models = [Model(figures, side) for side in figures["models"]]
    return {
        "counts": counts_table(models),
        "paper": paper_table(figures, models),
        "rates": rates(figures, cpu),
        "steps": steps_table(predicted),
        "memory": memory_table(models, cpu),
        "days": days_table(models, cpu),
        "fractions": fractions_table(models, cpu),
        "limits": limits_table(models, cpu),
        "data": data_table(models, cpu),
        "checkpoints": checkpoints_table(models, cpu),
        "sampling": sampling_table(models),
    }


def counts_table(models: Sequence[Model]) -> str:
    rows = []
    for model in models:
        own, n = model.counts, 1024
        whole = BYTES * own.parameters
        gathered = traffic("all_gather", BYTES * (2 * own.parameters - own.groups[-1]), n)
        sharded = gathered + traffic("reduce_scatter", whole, n)
        rows.append(
            [
                model.name,
                f"{own.parameters / 1e6:.1f}",
                f"{own.forward / 1e12:.3f}",
                f"{own.operations / 1e12:.2f}",
                f"{own.issued:,}",
                f"{5 * whole / GIB:.1f}",
                f"{traffic('all_reduce', whole, n) / GIB:.1f} in {len(own.buckets)}",
                f"{sharded / GIB:.1f} in {3 * len(own.groups) - 1}",
            ]
        )
    head = ("", "parameters, million", "TFLOP forward", "trained", "operators", "state, GiB")
    return _table((*head, "DDP sends, GiB in calls", "`--shard` sends"), rows)


def paper_table(figures: dict[str, Any], models: Sequence[Model]) -> str:
    """Compare the counted operations with the paper's, and the days with those it spent."""
    counts = {model.name: model.counts for model in models}
    counts |= {name: Counts(*own) for name, own in figures["upsamplers"].items()}
    rows = []
    for name, ideal in IDEAL.items():
        own = V100 / counts[name].operations
        rows.append([name, f"{own:.1f}", f"{ideal}", f"{REACHED[name] / own:.0%}", "", "", ""])
    for names, spent in SPENT.items():
        days = 0.0
        for name in names:
            kind = "diffusion" if "x" in name else "upsampler"
            train = recipe(f"{name}-{kind}").train
            total = train.steps * train.batch_size * counts[name].operations
            days += total / (FRACTION * V100) / DAY
        both = " and ".join(names)
        rows.append([both, "", "", "", f"{days:.0f}", f"{spent}", f"{days / spent - 1:+.0%}"])
    head = ("", "images a V100-second, counted", "Table 7", "it reached")
    return _table((*head, f"V100-days at {FRACTION:.0%}", "Table 10", ""), rows)


def rates(figures: dict[str, Any], cpu: Machine) -> str:
    """Return the fitted rates, and how far the calls of four processes are from their ring."""
    wires = {kind: ways[0] for kind, ways in cpu.wires.items()}
    rows = [
        ["operations of the passes", f"{cpu.rate / 1e9:.0f} GFLOP/s"],
        ["issuing an operator", f"{cpu.dispatch * 1e6:.1f} µs"],
        ["optimizer and average", _gigabytes(cpu.state_rate)],
        *(
            [f"{kind}, a hop", f"{wire.hop * 1e6:.0f} µs, then {_gigabytes(wire.near)}"]
            for kind, wire in wires.items()
        ),
        ["FSDP, a group", f"{cpu.hook * 1e6:.0f} µs"],
        *(
            [f"slowdown of {ranks} processes", f"{slow:.2f}"]
            for ranks, slow in cpu.slowdown.items()
            if ranks > 1
        ),
        ["writing to the disk", f"{cpu.disk / 1e6:.0f} MB/s"],
    ]
    off = [
        cpu.slowdown[4] * cpu.call(kind, size, 4) / taken - 1
        for ranks, kind, size, taken in figures["calls"]
        if ranks == 4
    ]
    size = list(map(abs, off))
    middle, most = statistics.median(size), max(size)
    note = (
        f"Measured on {figures['machine']}. The seconds of calls among four processes are "
        f"predicted with an error of {middle:.0%} in the median and {most:.0%} at most."
    )
    return f"{_table(('', 'fitted'), rows)}\n\n{note}"


def _gigabytes(rate: float) -> str:
    return f"{rate / 1e9:.2f} GB/s" if math.isfinite(rate) else "too short to be seen"


def steps_table(predicted: Sequence[Any]) -> str:
    """Return measured and predicted seconds of the steps not used in the fit."""
    rows, off = [], []
    for ranks, job, taken, expected in predicted:
        off.append(expected / taken - 1)
        cells = [f"{ranks}", "one process" if ranks == 1 else job.way.upper(), f"{job.width}"]
        cells += [f"{job.images}", f"{taken:.3f}", f"{expected:.3f}", f"{off[-1]:+.0%}"]
        rows.append(cells)
    errors = list(map(abs, off))
    middle, most = statistics.median(errors), max(errors)
    note = f"The error is {middle:.0%} in the median, and {most:.0%} at most."
    head = ("processes", "", "channels", "images each", "measured, s", "predicted, s", "error")
    return f"{_table(head, rows)}\n\n{note}"


def memory_table(models: Sequence[Model], cpu: Machine) -> str:
    rows = []
    for model in models:
        machine = machine_of(GPUS[0], cpu, model.data, FRACTION)
        batch = model.train.batch_size
        fixed, again = model.counts, model.recomputed
        least = memory(again, Plan(1, batch, 1)) / USABLE
        fitting = [most_images(own, machine, 1, batch) for own in (fixed, again)]
        rows.append(
            [
                model.name,
                f"{fixed.fixed / GIB:.1f}",
                f"{fixed.per_image / MIB:,.0f}",
                f"{again.per_image / MIB:,.0f}",
                *(f"{most}" for most in fitting),
                f"{most_images(fixed, machine, 8, batch, True)}",
                f"{least / 1e9:.0f}",
            ]
        )
    head = ("", "fixed, GiB", "an image, MiB", "recomputed", "images a pass in 80 GB")
    head += ("recomputed", "`--shard` on 8", "the smallest card, GB")
    return _table(head, rows)


def days_table(models: Sequence[Model], cpu: Machine) -> str:
    rows = []
    for gpu in GPUS:
        for model in models:
            machine = machine_of(gpu, cpu, model.data, FRACTION)
            for sharded in (False, True):
                way = "`--shard`" if sharded else "DDP"
                cells = [gpu.name, model.name, way]
                for ranks in RANKS:
                    plan = model.plan(machine, ranks, sharded)
                    if plan is None or (sharded and ranks == 1):
                        cells.append("")
                    else:
                        cells.append(_days(model, machine, plan))
                rows.append(cells)
    return _table(("", "", "", *(f"{ranks:,} GPUs" for ranks in RANKS)), rows)


def _days(model: Model, machine: Machine, plan: Plan) -> str:
    return f"{_short(model.days(machine, plan))} ({model.efficiency(machine, plan):.0%})"


def fractions_table(models: Sequence[Model], cpu: Machine) -> str:
    rows = []
    for gpu in GPUS:
        for model in models:
            cells = [gpu.name, model.name]
            for fraction in FRACTIONS:
                machine = machine_of(gpu, cpu, model.data, fraction)
                plan = model.plan(machine, 64)
                assert plan is not None
                cells.append(_days(model, machine, plan))
            rows.append(cells)
    return _table(("on 64 GPUs", "", *(f"{part:.0%} of the peak" for part in FRACTIONS)), rows)


def limits_table(models: Sequence[Model], cpu: Machine) -> str:
    """Return from how many GPUs on each part takes a tenth of a step, or more than all else."""
    rows = []
    for gpu in GPUS:
        for model in models:
            machine = machine_of(gpu, cpu, model.data, FRACTION)
            rows.append([gpu.name, model.name, *_limits(model, machine)])
    head = ("", "", "issuing", "optimizer, average", "calls of DDP", "of `--shard`", "saving")
    return _table((*head, "data", "most GPUs", "fastest, in days"), rows)


def _limits(model: Model, machine: Machine) -> list[str]:
    thresholds: dict[str, int] = {}
    ways = list[tuple[float, int, bool]]()
    for ranks, sharded in product([2**power for power in range(11)], (False, True)):
        plan = model.plan(machine, ranks, sharded)
        if plan is None:
            continue
        took = model.step(machine, plan)
        issue = plan.passes * model.counts.issued * machine.dispatch
        reached = {
            "issue": issue > plan.share * model.counts.operations / machine.rate,
            "state": not sharded and took.state > LARGE * took.seconds,
            "sharded" if sharded else "ddp": took.exposed > LARGE * took.seconds,
            "save": took.save > LARGE * took.seconds,
            "data": took.data > took.passes + took.state + took.exposed,
        }
        for name in [name for name, true in reached.items() if true]:
            thresholds.setdefault(name, ranks)
        ways.append((model.days(machine, plan), ranks, sharded))
    days, ranks, sharded = min(ways)
    best = f"{_short(days)} on {ranks}, {'`--shard`' if sharded else 'DDP'}"
    names = ("issue", "state", "ddp", "sharded", "save", "data")
    return [*(f"{thresholds.get(name, '')}" for name in names), f"{model.train.batch_size}", best]


def data_table(models: Sequence[Model], cpu: Machine) -> str:
    rows = []
    for model in models:
        own, cells = model.data, [model.name]
        cells += [f"{1e3 * own[name]:.2f}" for name in ("file", "packed", "draw")]
        for gpu in GPUS:
            rate = FRACTION * gpu.peak / model.counts.operations
            busy = [f"{rate * own[name]:.1f}" for name in ("file", "packed", "draw")]
            cells += [f"{rate:.0f}, {rate * own['bytes'] / 1e6:.1f} MB", " / ".join(busy)]
        rows.append(cells)
    head = ["", "a JPEG file, ms", "packed at its size", "noise"]
    for gpu in GPUS:
        head += [
            f"images, and files, a second of an {gpu.name}",
            "cores for files / packed / noise",
        ]
    return _table(head, rows)


def checkpoints_table(models: Sequence[Model], cpu: Machine) -> str:
    rows = []
    for model in models:
        size = SAVED * model.counts.parameters
        pause = size / cpu.disk
        machine = machine_of(GPUS[0], cpu, model.data, FRACTION)
        cells = [model.name, f"{size / 1e9:.1f}", f"{pause:.0f}"]
        for ranks in (8, 256):
            plan = model.plan(machine, ranks)
            assert plan is not None
            alone = replace(machine, disk=math.inf)
            seconds = model.step(alone, plan).seconds
            cells += [f"{pause / (every * seconds + pause):.1%}" for every in (1000, 10_000)]
        rows.append(cells)
    head = ["", "a checkpoint, GB", "written in, s"]
    head += [f"share on {n} A100, every {every}" for n in (8, 256) for every in ("1,000", "10,000")]
    return _table(head, rows)


def sampling_table(models: Sequence[Model]) -> str:
    rows = []
    for model in models:
        cells = [model.name, f"{model.call / 1e12:.2f}"]
        for gpu in GPUS:
            seconds = IMAGES * CALLS * model.call / (FRACTION * gpu.peak)
            few = seconds * FEW / CALLS
            cells += map(_short, (seconds / DAY, seconds / 3600 / 64, few / 3600 / 8))
        rows.append(cells)
    head = ["", "TFLOP a guided call"]
    for gpu in GPUS:
        head += [f"days on one {gpu.name}", "hours on 64", f"in {FEW} calls, on 8"]
    return _table(head, rows)


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table([head, ["---", *["--:"] * (len(head) - 1)], *rows])


def figure(models: Sequence[Model], cpu: Machine) -> Figure:
    """Draw, for each card, days and efficiency over the number of GPUs."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(8.4, 6.0), dpi=144, layout="constrained")
        for column, gpu in zip(drawn.subplots(2, 2, sharex=True).T, GPUS, strict=True):
            days, efficiency = column
            for model, colour in zip(models, LINES, strict=False):
                machine = machine_of(gpu, cpu, model.data, FRACTION)
                for sharded, style in ((False, "-"), (True, ":")):
                    plans = [model.plan(machine, 2**power, sharded) for power in range(11)]
                    own = [plan for plan in plans if plan is not None]
                    ranks = [plan.ranks for plan in own]
                    label = None if sharded else model.name
                    spent = [model.days(machine, plan) for plan in own]
                    days.plot(ranks, spent, style, color=colour, label=label)
                    shares = [model.efficiency(machine, plan) for plan in own]
                    efficiency.plot(ranks, shares, style, color=colour)
            days.set(title=f"{gpu.name}, {FRACTION:.0%} of the peak", xscale="log", yscale="log")
            days.set_ylabel("days of training")
            efficiency.set(xlabel="GPUs (dotted: --shard)", ylabel="efficiency", ylim=(0, 1.02))
            efficiency.set_xticks(RANKS, [f"{ranks:,}" for ranks in RANKS])
            efficiency.minorticks_off()
            for axes in column:
                axes.grid(color=FAINT, lw=0.8)
        drawn.axes[0].legend()
    return drawn


def write(docs: Path, figures: dict[str, Any], cpu: Machine, sections: dict[str, str]) -> None:
    """Put the tables into the page, and draw its plot."""
    page = docs / PAGE
    text = page.read_text("utf-8")
    for name, each in sections.items():
        text = between(text, name, each, MADE)
    write_text(page, text)
    cpu = replace(cpu, disk=figures["disk"])
    figure([Model(figures, side) for side in figures["models"]], cpu).savefig(docs / PICTURE)
