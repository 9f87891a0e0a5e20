"""Images, sides, steps -> table of the seconds and the memory that a sample folder takes.

    python benchmarks/growth.py --counts 1000 10000 50000
    python benchmarks/growth.py --model fashion --counts 100 1000 --steps 5 --scale 2
    python benchmarks/growth.py --model fashion --counts 1000 --processes 1 2 --threads 1
    python benchmarks/growth.py --recipe fashion --counts 64 --steps 5 --sides 8 16 32 64
    python benchmarks/growth.py --recipe fashion --counts 64 --steps 5 10 20 40 --sides 32

Without --model and --recipe, images are noise, which costs next to nothing to make, so that the
table shows what writing costs. --recipe samples the untrained network of a recipe, which works at
any side that its halvings divide. Every row is of a process of its own, or of several. Seconds are
those of the call, without the start of the processes; for a network, a block of images is made
before. Memory is the peak of the first process, and that above its memory before it samples.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from resident import peak_bytes, resident_bytes
from torch import Tensor

from adm.generation.folder import sample_into
from adm.generation.generator import Generator
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline, load
from adm.models.trained import DiffusionModel
from adm.networks import UNet
from adm.processes import Devices, join, launched
from adm.recipes import DiffusionRecipe, build, recipe
from adm.recipes.schema import override

MIB = 1 << 20


class Row(NamedTuple):
    """A row of the table; `steps` is None for those of the recipe, or for noise."""

    images: int
    side: int
    steps: int | None
    processes: int


@dataclass(frozen=True)
class Noise(Generator):
    """A generator of uint8 noise."""

    shape: tuple[int, int, int]
    input_shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] = ("a", "b")
    seed: int = 0
    evaluations: int = 1

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        random = np.random.default_rng(indices[0])
        shape = (len(indices), *self.shape)
        return torch.from_numpy(random.integers(0, 256, shape, dtype=np.uint8))

    def manifest(self) -> dict[str, Any]:
        return {"noise": list(self.shape)}


def pipeline_of(args: argparse.Namespace, row: Row) -> Pipeline:
    return load(args.model, device="cpu") if args.model else untrained(args.recipe, row.side)


def untrained(name: str, side: int) -> Pipeline:
    """Return the network of a recipe with initial weights, for images of another side."""
    base = override(recipe(name), ["sample.precision=float32"])  # without a measurement
    assert isinstance(base, DiffusionRecipe), f"{name} is the recipe of a classifier"
    resized = replace(base, data=replace(base.data, size=(side, side)))
    network, process = build.network(resized), resized.process
    assert isinstance(network, UNet)
    classes = tuple(str(label) for label in range(resized.unet.classes or 0))
    model = DiffusionModel(
        network.eval(),
        resized,
        classes,
        build.schedule(process),
        build.parameterization(process),
        Path(__file__),  # whose hash stands for the weights in the manifest
        0,
    )
    return Pipeline(model)


def job_of(args: argparse.Namespace, row: Row) -> Job:
    """Return the job of a row, whose labels take turns."""
    if args.model is None and args.recipe is None:
        generator: Generator = Noise((args.channels, row.side, row.side))
    else:
        generator = pipeline_of(args, row).generator(steps=row.steps, scale=args.scale)
        block = generator.block
        generator.images(torch.zeros(block, dtype=torch.int64), range(block))  # a warm-up
    classes = len(generator.classes)
    labels = [index % classes for index in range(row.images)] if classes else None
    return Job(generator, labels, row.images)


def measured(args: argparse.Namespace, row: Row) -> None:
    """Sample in this process, and print what it took as JSON, if it is the first one."""
    torch.set_num_threads(args.threads)
    devices = join(torch.device("cpu")) if launched() else Devices(torch.device("cpu"))
    job = job_of(args, row)
    before, started, processor = resident_bytes(), time.perf_counter(), time.process_time()
    sample_into(Path(args.out), job, devices=devices)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    if devices.main:
        peak = peak_bytes()
        took = {"seconds": seconds, "processor": processor, "peak": peak, "more": peak - before}
        print(json.dumps(took), flush=True)


def print_row(words: Sequence[str], row: Row, threads: int) -> None:
    with tempfile.TemporaryDirectory(prefix="adm-growth-") as folder:
        start = [sys.executable]
        if row.processes > 1:
            start += ["-m", "torch.distributed.run", "--standalone"]
            start += [f"--nproc-per-node={row.processes}"]
        own = ["--one", json.dumps(row), "--out", f"{folder}/out"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [*start, __file__, *words, *own]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        took = json.loads(done.stdout)
        written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    each = 1000 / row.images
    print(
        f"| {row.images:,} | {row.side} | {row.steps or ''} | {row.processes} | "
        f"{took['seconds']:.1f} | {took['seconds'] * each:.2f} | "
        f"{took['processor'] * each:.2f} | {took['peak'] / MIB:.0f} | {took['more'] / MIB:.0f} | "
        f"{written / MIB:.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000, 50000])
    parser.add_argument("--sides", type=int, nargs="+", help="of the images; 32 by default")
    parser.add_argument("--steps", type=int, nargs="+", default=[None])
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1)
    of = parser.add_mutually_exclusive_group()
    of.add_argument("--model", help="which has a side of its own")
    of.add_argument("--recipe", help="of an untrained diffusion model")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--channels", type=int, default=3, help="of noise")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        measured(args, Row(*json.loads(args.one)))
        return
    if args.model and args.sides:
        parser.error("--sides is for noise and --recipe; a model has a side of its own")
    print(
        "| images | side | steps | processes | seconds | ms an image | of processor | peak MiB | "
        "more | written |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    sides = [load(args.model).shape[1]] if args.model else args.sides or [32]
    for values in product(args.counts, sides, args.steps, args.processes):
        print_row(sys.argv[1:], Row(*values), args.threads)


if __name__ == "__main__":
    main()
