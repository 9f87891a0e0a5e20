"""Shipped model, scales -> table of fidelity and diversity, pictures of the README.

python benchmarks/guidance.py --per-class 100
python benchmarks/guidance.py --per-class 50 --sampler ancestral --grid even:steps=25
python benchmarks/guidance.py --per-class 100 --pictures docs/images
"""

import argparse
import time
from pathlib import Path

import torch

from adm.app.processor import described
from adm.app.study.demo import curve, shipped
from adm.app.study.judge import Scores, score
from adm.pictures import grid

ACROSS = 20  # images of one class in the README's picture


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--scales", type=float, nargs="+", default=[0, 1, 2, 4, 8])
    parser.add_argument("--sampler", help="the recipe's by default, and so the grid")
    parser.add_argument("--grid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    models = shipped()
    print(
        f"{10 * given.per_class} images a scale, seed {given.seed}; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {described()}\n"
    )
    print("| scale | fidelity (95% interval) | diversity | Fréchet | images a second |")
    print("|---|---|---|---|---|")
    scores: dict[str, Scores] = {}
    for scale in given.scales:
        started = time.monotonic()
        how = {"sampler": given.sampler, "grid": given.grid, "seed": given.seed}
        made = models.guided.sample(f"all:{given.per_class}", scale=scale, **how)
        speed = len(made.images) / (time.monotonic() - started)
        own = scores[f"{scale:g}"] = score(models.judge, models.reference, made.images, made.labels)
        low, high = 100 * own.fidelity.low, 100 * own.fidelity.high
        print(
            f"| {scale:g} | {100 * own.fidelity.value:.1f}% ({low:.1f} to {high:.1f}) | "
            f"{own.diversity:.3f} | {own.frechet:.2f} | {speed:.1f} |",
            flush=True,
        )
        if given.pictures is not None:
            given.pictures.mkdir(parents=True, exist_ok=True)
            rows = [made.images[made.labels == label][:ACROSS] for label in range(10)]
            picture = grid(torch.cat(rows), min(ACROSS, len(rows[0])))
            picture.save(given.pictures / f"samples-scale{scale:g}.png")
    if given.pictures is not None:
        (given.pictures / "curve.png").write_bytes(curve(scores, models.reference.accuracy))


if __name__ == "__main__":
    main()
