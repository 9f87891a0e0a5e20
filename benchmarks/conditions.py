"""Model of edges, images, their edges -> how well samples follow the edges, and a picture.

    python examples/edges.py emoji edges
    python benchmarks/conditions.py runs/from-edges --data emoji --condition edges --out edges.png

Test images only. `agreement` compares the edges of a sample (Canny) with its condition, by
the harmonic mean of two shares: of the former that are within a pixel of the latter, and the
reverse; `of others` with the condition of the next image. `apart` is the root mean square
difference of two samples from the same edges, in pixel values of 255.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation
from skimage.feature import canny
from torch import Tensor

import adm
from adm.data import open_source
from adm.data.pairs import pair
from adm.pictures import Row, sheet

EDGE = 64  # least level of an edge in a condition
GUIDES = ("none", "free:scale=2")
ROWS, EACH = 10, 4  # of the picture: images, and samples of each


def edges_of(images: Tensor) -> np.ndarray:
    """(N, C, H, W) uint8 -> (N, H, W) bool."""
    grey = images.float().mean(1).numpy() / 255
    return np.stack([canny(each, 1.0) for each in grey])


def agreement(sampled: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(N, H, W) bool -> (N,) from 0 to 1."""

    def share(edges: np.ndarray, of: np.ndarray) -> np.ndarray:
        near = np.stack([binary_dilation(each, np.ones((3, 3))) for each in of])
        return (edges & near).sum((1, 2)) / edges.sum((1, 2)).clip(min=1)

    one, two = share(sampled, expected), share(expected, sampled)
    return 2 * one * two / (one + two).clip(min=1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--condition", required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("edges.png"))
    args = parser.parse_args()
    model = adm.load(args.model, device="cpu")
    channels, *size = model.shape
    how = {"split": "test", "size": tuple(size), "channels": channels}
    data = pair(open_source(args.data, **how), open_source(args.condition, **how))
    chosen = np.random.default_rng(0).permutation(len(data))[: args.images].tolist()
    originals, _, conditions = data.pairs(chosen)
    assert conditions is not None
    expected = (conditions.float().mean(1) >= EDGE).numpy()
    sampled = {
        guide: [model.sample(inputs=conditions, guide=guide, seed=seed).images for seed in (0, 1)]
        for guide in GUIDES
    }
    print(f"{len(chosen)} test images of {data.name}, {model.model.trained_steps} steps\n")
    print("| images | agreement | standard error | of others | apart |\n|---|--:|--:|--:|--:|")
    for name, (one, two) in (sampled | {"originals": [originals, originals]}).items():
        edges = edges_of(one)
        own, others = agreement(edges, expected), agreement(edges, np.roll(expected, 1, axis=0))
        apart = float((one.float() - two.float()).square().mean().sqrt())
        error = own.std() / len(own) ** 0.5
        print(f"| {name} | {own.mean():.3f} | {error:.3f} | {others.mean():.3f} | {apart:.0f} |")
    some = conditions[:ROWS].repeat_interleave(EACH, 0)
    samples = model.sample(inputs=some, seed=0).images.unflatten(0, (-1, EACH))
    rows = [
        Row("", [condition, *own, original])
        for condition, own, original in zip(conditions, samples, originals, strict=False)
    ]
    headings = [("edges", 1), ("samples", EACH), ("original", 1)]
    sheet("", headings, rows).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
