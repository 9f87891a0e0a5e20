"""Shipped model, scales -> table of fidelity and diversity, pictures of the README.

python benchmarks/guidance.py --per-class 100
python benchmarks/guidance.py --per-class 50 --sampler ancestral --spacing even --steps 25
python benchmarks/guidance.py --per-class 100 --pictures docs/images
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from adm.app.study.demo import SCALES
from adm.app.study.demo.report import curve
from adm.app.study.demo.run import Column, Shipped, columns, preset, shipped
from adm.app.study.plan import Sweep
from adm.pictures import grid
from adm.processor import described

ACROSS = 20  # images of one class in the README's picture


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--scales", type=float, nargs="+", default=list(SCALES))
    parser.add_argument("--sampler", help="the recipe's by default, and so the next two")
    parser.add_argument("--spacing")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    models = shipped()
    words = {name: getattr(given, name) for name in ("sampler", "spacing", "steps", "seed")}
    sweep = preset(models, given.scales, given.per_class, **words)
    base = sweep.base
    print(
        f"{base.sampler.name}, {base.grid.steps} steps ({base.grid.spacing}), "
        f"{10 * given.per_class} images a scale, seed {base.seed}; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {described()}\n"
    )
    print("| scale | fidelity (95% interval) | diversity | Fréchet | images a second |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        found = measured(models, sweep, Path(cache))
    if given.pictures is not None:
        draw(found, models.reference.accuracy, given.pictures)


def measured(models: Shipped, sweep: Sweep, cache: Path) -> list[Column]:
    """Sample and score each scale, and print its row of the table."""
    found: list[Column] = []
    started = time.monotonic()
    for made in columns(models, sweep, cache):
        speed = len(made.labels) / (time.monotonic() - started)
        fidelity, scores = made.scores.fidelity, made.scores
        print(
            f"| {made.scale:g} | {100 * fidelity.value:.1f}% ({100 * fidelity.low:.1f} to "
            f"{100 * fidelity.high:.1f}) | {scores.diversity:.3f} | {scores.frechet:.2f} | "
            f"{speed:.1f} |",
            flush=True,
        )
        found.append(made)
        started = time.monotonic()
    return found


def draw(columns: list[Column], real_accuracy: float, folder: Path) -> None:
    """Write curve.png and, for each scale S, samples-scaleS.png with one class per row."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curve.png").write_bytes(curve(columns, real_accuracy))
    for made in columns:
        rows = [made.images[made.labels == label][:ACROSS] for label in range(10)]
        picture = grid(torch.cat(rows), min(ACROSS, len(rows[0])))
        picture.save(folder / f"samples-scale{made.scale:g}.png")


if __name__ == "__main__":
    main()
