"""Run folders -> table of speckle, accuracy and Fréchet distance of their samples, by sampler.

    for p in velocity noise x_0; do
        adm train fashion --out runs/$p --steps 1000 --set process.prediction=$p unet.channels=16 \\
            unet.depth=1 train.batch_size=64
    done
    python benchmarks/speckle.py runs/velocity runs/noise runs/x_0

Speckle is the share of pixels that differ from the median of their 3x3 neighbourhood by more than
half of the range. The speckle of the 10,000 real test images is printed first.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from guidance import measure
from torch import Tensor
from torch.nn import functional as F

from adm.app.study.demo import JUDGE
from adm.data import open_source
from adm.generation.diffusion import DiffusionGenerator
from adm.metrics.frechet import frechet_distance
from adm.models.load import load_classifier, load_diffusion
from adm.samplers import DDIM, Ancestral, Even, Sampling

HALF_RANGE = 128
WAYS = (
    ("ddim 25", Sampling(sampler=DDIM(), grid=Even(steps=25))),
    ("ddim 25 from 980", Sampling(sampler=DDIM(), grid=Even(steps=25, start=980))),
    ("ddim 100", Sampling(sampler=DDIM(), grid=Even(steps=100))),
    ("ancestral 25", Sampling(sampler=Ancestral(), grid=Even(steps=25))),
    ("ancestral 25 from 980", Sampling(sampler=Ancestral(), grid=Even(steps=25, start=980))),
)


def speckle(images: Tensor) -> float:
    """Return the share of speckled pixels, in [0, 1], of (N, 1, H, W) uint8 images."""
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    around = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    return float(((images - around.median(dim=4).values).abs() > HALF_RANGE).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    judge = load_classifier(JUDGE)
    real, classes = open_source("fashion-mnist", split="test").batch(range(10_000))
    features = measure(judge, real, classes).features
    print(f"real test images: speckle {100 * speckle(real):.2f}%\n")
    print("| run | sampler | speckle | classified as intended | Fréchet |\n|---|---|---|---|---|")
    labels = torch.arange(10).repeat_interleave(args.per_class)
    for run in args.runs:
        model = load_diffusion(run)
        for name, way in WAYS:
            generator = DiffusionGenerator(model, replace(way, seed=args.seed))
            images = generator.images(labels, range(len(labels)))
            scores = measure(judge, images, labels)
            distance = frechet_distance(features, scores.features)
            print(
                f"| {run.name} | {name} | {100 * speckle(images):.2f}% | "
                f"{100 * scores.fidelity.value:.1f}% | {distance:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
