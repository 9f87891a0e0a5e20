"""A model -> a file of its speed on this machine, which the page of hardware shows with the others.

    python benchmarks/hardware.py
    python benchmarks/hardware.py emoji --device cuda --count 256

The kinds take turns, so that other work on the machine affects all of them alike.
"""

import argparse
import platform
import re
import statistics
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch

import adm
from adm.runs.processor import describe_processor, half_precision

FOLDER = Path(__file__).parents[1] / "docs/results/speed"
COLUMNS = (
    "model",
    "hardware",
    "precision",
    "ms an image and step",
    "the same, guided",
    "images a second by default",
    "threads, clock",
    "other work",
    "measured",
)
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
KINDS: tuple[dict[str, Any], ...] = ({"guide": None}, {"scale": 2.0}, {})  # the last by default


def precisions(device: torch.device) -> list[str]:
    """float32, and those of 16 bits in which the device computes faster."""
    if device.type == "cpu":
        return ["float32", *["bfloat16"] * bool(half_precision())]
    return ["float32", "bfloat16", "float16"]


def race(model: adm.Pipeline, args: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Sample by each kind in turn; return the seconds of each, by precision and kind."""
    now = CLOCKS[args.clock]
    names = precisions(model.device)
    taken: dict[str, list[list[float]]] = {name: [[] for _ in KINDS] for name in names}
    for number in range(1 + args.rounds):  # the first is not counted
        for name in names:
            for kind, seconds in zip(KINDS, taken[name], strict=True):
                settings = {**kind, "steps": args.steps} if kind else kind
                started = now()
                model.sample(count=args.count, progress=False, precision=name, **settings)
                if number:
                    seconds.append(now() - started)
    return taken


def text(values: list[float]) -> str:
    """The median, with quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def rows(args: argparse.Namespace) -> list[tuple[str, ...]]:
    others = f"{psutil.cpu_percent(interval=2):.0f}%"
    model = adm.load(args.model, device=args.device)
    device = model.device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else describe_processor()
    versions = f"adm {adm.__version__}, torch {torch.__version__}, {platform.system()}"
    measured = []
    for precision, kinds in race(model, args).items():
        step, guided, whole = kinds
        milliseconds = [
            text([1e3 * each / args.count / args.steps for each in own]) for own in (step, guided)
        ]
        rate = text([args.count / each for each in whole])
        when = f"{datetime.now():%Y-%m-%d}, {versions}"
        threads = f"{args.threads}, {args.clock}"
        measured.append(
            (args.model, hardware, precision, *milliseconds, rate, threads, others, when)
        )
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="fashion")
    parser.add_argument("--device", help="such as cuda; the best available by default")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--count", type=int, default=16, help="images of a sampling")
    parser.add_argument("--steps", type=int, default=10, help="of the kinds that count a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    measured = rows(args)
    lines = [COLUMNS, ("---",) * len(COLUMNS), *measured]
    words = (re.findall(r"[a-z0-9]+", word.lower()) for word in measured[0][:2])
    path = args.out / f"{'_'.join(map('-'.join, words))}_{datetime.now():%Y-%m-%d}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), "utf-8")
    print(path)


if __name__ == "__main__":
    main()
