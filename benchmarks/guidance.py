"""Shipped model, scales -> table of fidelity and diversity, pictures of the README.

The judge of the table is a classifier of clean images; real images are the 10,000 test images.

python benchmarks/guidance.py --per-class 100
python benchmarks/guidance.py --per-class 50 --sampler ancestral --grid even:steps=25
python benchmarks/guidance.py --per-class 100 --pictures docs/images
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from adm.app.processor import described
from adm.app.study.comparison import within_class
from adm.app.study.demo import JUDGE
from adm.data import open_source
from adm.generation.pipeline import load
from adm.images import to_float
from adm.metrics import Score
from adm.metrics.accuracy import accuracy
from adm.metrics.frechet import Statistics, frechet_distance, statistics
from adm.models.load import load_classifier
from adm.models.trained import ClassifierModel
from adm.pictures import grid, png

ACROSS = 20  # images of one class in the README's picture
BATCH = 250
INK, ACCENT, PALE = "#1b1f24", "#0b6e8f", "#9aa4ad"


@dataclass(frozen=True)
class Measured:
    """What the judge says of a set of images.

    Attributes:
        fidelity: share that it assigns to the intended class.
        distances: (classes,) mean feature distance within each class.
        features: mean and covariance of its last features.
    """

    fidelity: Score
    distances: np.ndarray
    features: Statistics

    def diversity(self, real: "Measured") -> float:
        """Return the mean distance within a class, relative to that of real images."""
        return float(np.nanmean(self.distances / real.distances))


@torch.no_grad()
def measure(judge: ClassifierModel, images: torch.Tensor, labels: torch.Tensor) -> Measured:
    """Measure images: (N, C, H, W) uint8, with the (N,) int64 classes they are meant for."""
    features, logits = [], []
    for chunk in images.split(BATCH):
        x_0 = to_float(chunk)
        features.append(judge.network.features(x_0, judge.schedule.timestep(0, x_0)))
        logits.append(judge.classify(x_0))
    seen = torch.cat(features).numpy()
    distances = [within_class(seen[labels.numpy() == i]).value for i in range(len(judge.classes))]
    return Measured(accuracy(torch.cat(logits), labels), np.array(distances), statistics(seen))


def curve(measured: dict[str, Measured], real: Measured) -> bytes:
    """Plot fidelity against diversity, a point for each set of samples by its name: a PNG."""
    figure = Figure(figsize=(6.4, 3.6), dpi=160, layout="constrained")
    axes = figure.subplots()
    x = [each.diversity(real) for each in measured.values()]
    shares = [each.fidelity for each in measured.values()]
    y = [100 * share.value for share in shares]
    low = [100 * (share.value - share.low) for share in shares]
    high = [100 * (share.high - share.value) for share in shares]
    axes.axhline(100 * real.fidelity.value, color=PALE, lw=1, ls="--")
    axes.plot(1.0, 100 * real.fidelity.value, "*", color=INK, ms=12, label="real test images")
    label = "samples, by scale"
    axes.errorbar(
        x, y, yerr=[low, high], fmt="o-", color=ACCENT, ecolor=PALE, capsize=3, label=label
    )
    for i, (name, a, b) in enumerate(zip(measured, x, y, strict=True)):
        place = (6, -14 if i % 2 else 7)
        axes.annotate(name, (a, b), xytext=place, textcoords="offset points", fontsize=8)
    axes.set_xlabel("diversity within a class, relative to real images")
    axes.set_ylabel("fidelity (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    return png(figure)


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
    args = parser.parse_args()
    model, judge = load("fashion"), load_classifier(JUDGE)
    test = open_source("fashion-mnist", split="test")
    real = measure(judge, *test.batch(range(len(test))))
    print(
        f"{10 * args.per_class} images a scale, seed {args.seed}; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {described()}\n"
    )
    print("| scale | fidelity (95% interval) | diversity | Fréchet | images a second |")
    print("|---|---|---|---|---|")
    scores: dict[str, Measured] = {}
    for scale in args.scales:
        started = time.monotonic()
        how = {"sampler": args.sampler, "grid": args.grid, "seed": args.seed}
        samples = model.sample(f"all:{args.per_class}", scale=scale, **how)
        speed = len(samples.images) / (time.monotonic() - started)
        assert samples.labels is not None
        own = scores[f"{scale:g}"] = measure(judge, samples.images, samples.labels)
        low, high = 100 * own.fidelity.low, 100 * own.fidelity.high
        print(
            f"| {scale:g} | {100 * own.fidelity.value:.1f}% ({low:.1f} to {high:.1f}) | "
            f"{own.diversity(real):.3f} | {frechet_distance(real.features, own.features):.2f} | "
            f"{speed:.1f} |",
            flush=True,
        )
        if args.pictures is not None:
            args.pictures.mkdir(parents=True, exist_ok=True)
            rows = [samples.images[samples.labels == label][:ACROSS] for label in range(10)]
            picture = grid(torch.cat(rows), min(ACROSS, len(rows[0])))
            picture.save(args.pictures / f"samples-scale{scale:g}.png")
    print(f"| real | {100 * real.fidelity.value:.1f}% | 1 | | |")
    if args.pictures is not None:
        (args.pictures / "curve.png").write_bytes(curve(scores, real))


if __name__ == "__main__":
    main()
