"""Recipes -> table of parameters, estimated memory and measured steps.

    python benchmarks/recipes.py --measure fashion digits           # prints the table
    python benchmarks/recipes.py --only fashion --measure fashion --write

The second command writes a row into docs/results/data/memory.csv as soon as it is measured, and
leaves the rows of other recipes unchanged.

`adm.app.runs.estimates.step_memory` computes the estimates. A measured step is that of the training
loop, in a process of its own, on one image unless `--images` is given. Its memory is the peak of
the process above its memory before the network was built.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from resident import peak_bytes, resident_bytes

from adm.app.runs.estimates import StepMemory, step_memory
from adm.processes import Devices
from adm.recipes import RECIPES, Recipe, build, recipe
from adm.training.batches import blank
from adm.training.players import Player, RunState
from adm.training.update import StepSettings, update

TABLE = Path(__file__).parent.parent / "docs" / "results" / "data" / "memory.csv"
GIB, MIB = 2**30, 2**20
CPU = Devices(torch.device("cpu"))
WAYS = (("float32", False), ("float32", True), ("bfloat16", False), ("bfloat16", True))
HEADER = (
    *("recipe", "parameters (million)", "fixed (GiB), float32", "bfloat16"),
    *("per image (MiB), float32", "recomputed", "bfloat16", "recomputed"),
    *("measured, bfloat16 (GiB)", "estimate for it", "a step (s)"),
)


@dataclass(frozen=True)
class Measured:
    """A measured training step."""

    peak: int  # bytes
    seconds: float


def changed(chosen: Recipe, precision: str, recomputed: bool) -> Recipe:
    train = replace(
        chosen.train,
        precision=precision,  # type: ignore[arg-type]
        checkpoint_activations=recomputed,
    )
    return replace(chosen, train=train)


def with_moments(player: Player) -> Player:
    """Return a player whose optimizer has moments as after the first step, which moves nothing."""
    (group,) = player.optimizer.param_groups
    rate, group["lr"] = group["lr"], 0.0
    for parameter in player.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    player.optimizer.step()
    player.optimizer.zero_grad(set_to_none=True)
    group["lr"] = rate
    return player


def one_step(chosen: Recipe, images: int) -> Measured:
    """Measure one step in this process, which must be new."""
    before = resident_bytes()
    players = build.players(chosen, build.networks(chosen), CPU)
    state = RunState({name: with_moments(each) for name, each in players.items()})
    count = images * chosen.parts
    batch = blank(count, (chosen.data.channels, *chosen.data.size))
    turn = build.turn(chosen, state, CPU.device)
    how = StepSettings(CPU, count, count, chosen.train.gradient_clip)
    started = time.monotonic()
    turn(state, batch, partial(update, how=how))
    seconds = time.monotonic() - started
    return Measured(peak_bytes() - before, seconds)


def measured(name: str, precision: str, recomputed: bool, images: int) -> Measured:
    """Run `one_step` in a new process."""
    words = ["--child", name, precision, str(int(recomputed)), str(images)]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def row(name: str, images: int | None) -> list[str]:
    """Return the row of a recipe, with a measured step if a number of images is given."""
    base = recipe(name)
    estimates: list[StepMemory] = [step_memory(changed(base, *way)) for way in WAYS]
    cells = [
        name,
        f"{build.parameters(base) / 1e6:.1f}",
        *(f"{estimates[i].fixed / GIB:.2f}" for i in (0, 2)),
        *(f"{memory.per_image / MIB:,.1f}" for memory in estimates),
    ]
    if images is None:
        return [*cells, "", "", ""]
    step = measured(name, "bfloat16", base.train.checkpoint_activations, images)
    expected = step_memory(changed(base, "bfloat16", base.train.checkpoint_activations))
    of = "" if images == 1 else f" of {images}"
    peak, estimate = step.peak / GIB, expected.of(images) / GIB
    return [*cells, f"{peak:.2f}", f"{estimate:.2f}", f"{step.seconds:.2f}{of}"]


def hardware() -> str:
    processor = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return (
        f"Measured with PyTorch {torch.__version__.split('+')[0]} and "
        f"{torch.get_num_threads()} thread(s) of {os.cpu_count()} on {processor}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs="*", default=[], metavar="RECIPE")
    parser.add_argument("--only", nargs="*", default=[], metavar="RECIPE")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write rows into {TABLE.name}")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, precision, recomputed, images = args.child
        step = one_step(changed(recipe(name), precision, recomputed == "1"), int(images))
        print(json.dumps([step.peak, step.seconds]))
        return
    print(hardware(), ",".join(HEADER), sep="\n")
    for name in args.only or RECIPES:
        line = row(name, args.images if name in args.measure else None)
        print(",".join(line), flush=True)
        if args.write:
            write(line)


def write(line: list[str]) -> None:
    """Write a row into the table, in the order of the recipes."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        _, *stored = csv.reader(file)
    rows = {each[0]: each for each in [*stored, line]}
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        ordered = [rows[name] for name in RECIPES if name in rows]
        csv.writer(file, lineterminator="\n").writerows([HEADER, *ordered])


if __name__ == "__main__":
    main()
