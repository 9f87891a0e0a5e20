"""Numbers of images -> table of the seconds and the peak memory that a sample folder of them takes.

    python benchmarks/growth.py --counts 1000 10000 50000
    python benchmarks/growth.py --model fashion --counts 100 1000 --steps 5 --scale 2
    python benchmarks/growth.py --model fashion --counts 1000 --processes 1 2 --threads 1

Without --model, images are noise, which costs next to nothing to make, so that the table shows what
writing costs. Every row is of a process of its own, or of several. Seconds are those of the call,
without the start of the processes. Memory is the peak of the first process, and that above its
memory before it samples.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resident import peak_bytes, resident_bytes
from torch import Tensor

from adm.generation.folder import sample_into
from adm.generation.job import Job
from adm.generation.pipeline import load
from adm.processes import Devices, join, launched

MIB = 1 << 20


@dataclass(frozen=True)
class Noise:
    """A generator of uint8 noise."""

    shape: tuple[int, int, int]
    low_shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] = ("a", "b")
    seed: int = 0
    evaluations: int = 1

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        low_res: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        random = np.random.default_rng(indices[0])
        shape = (len(indices), *self.shape)
        return torch.from_numpy(random.integers(0, 256, shape, dtype=np.uint8))

    def manifest(self) -> dict[str, Any]:
        return {"noise": list(self.shape)}


def measured(given: argparse.Namespace, count: int) -> None:
    """Sample in this process, and print what it took as JSON, if it is the first one."""
    torch.set_num_threads(given.threads)
    devices = join(torch.device("cpu")) if launched() else Devices(torch.device("cpu"))
    if given.model is None:
        job = Job(Noise((given.channels, given.size, given.size)), [0, 1] * (count // 2), count)
    else:
        job = load(given.model, device="cpu").job(count=count, steps=given.steps, scale=given.scale)
    before, started, processor = resident_bytes(), time.perf_counter(), time.process_time()
    sample_into(Path(given.out), job, batch_size=given.batch_size, devices=devices)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    if devices.main:
        peak = peak_bytes()
        took = {"seconds": seconds, "processor": processor, "peak": peak, "more": peak - before}
        print(json.dumps(took), flush=True)


def row(words: Sequence[str], count: int, processes: int, threads: int) -> None:
    with tempfile.TemporaryDirectory(prefix="adm-growth-") as folder:
        start = [sys.executable]
        if processes > 1:
            start += ["-m", "torch.distributed.run", "--standalone"]
            start += [f"--nproc-per-node={processes}"]
        own = ["--one", str(count), "--out", f"{folder}/out"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [*start, __file__, *words, *own]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        took = json.loads(done.stdout)
        written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    each = 1000 / count
    print(
        f"| {count:,} | {processes} | {took['seconds']:.1f} | {took['seconds'] * each:.2f} | "
        f"{took['processor'] * each:.2f} | {took['peak'] / MIB:.0f} | {took['more'] / MIB:.0f} | "
        f"{written / MIB:.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000, 50000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        measured(given, given.one)
        return
    print(
        "| images | processes | seconds | ms an image | of processor | peak MiB | more | written |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for count in given.counts:
        for processes in given.processes:
            row(sys.argv[1:], count, processes, given.threads)


if __name__ == "__main__":
    main()
