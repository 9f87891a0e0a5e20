"""Model of Fashion-MNIST without a class -> table: how well its images are found, by which score.

    python benchmarks/anomalies.py data --out data
    adm train fashion --data data/train.npz --hold-out 0.02 --set unet.depth=1 train.steps=900 \\
        --out runs/no-bag
    python benchmarks/anomalies.py score runs/no-bag --images data/test.npz

`data` writes the training images without the class, and 500 test images of it among 500 others.
`score` prints the area under the ROC curve of each score, with the interval of a bootstrap. Rows of
edits have the mean absolute difference from the edit, as `adm anomalies` has. Guided ones go to the
nearest class that the model knows, the one with the least denoising error at three levels.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import adm
from adm.data import Source, open_source
from adm.diffusion import process
from adm.generation.edit import nearest
from adm.images import to_float
from adm.metrics.accuracy import roc_area
from adm.runs.processor import described
from adm.samplers import ImageNoise

LEVELS, OF_CLASSES = range(50, 1000, 100), (250, 450, 650)
BATCH = 50
EDITS = {  # row -> edit, settings, whether it is guided to the nearest class
    "noised to 0.25": ("noise:strength=0.25", {"steps": 10}, False),
    "noised to 0.5": ("noise:strength=0.5", {"steps": 10}, False),
    "noised to 0.75": ("noise:strength=0.75", {"steps": 10}, False),
    "inverted to 0.5": ("invert:strength=0.5,steps=10", {"steps": 10}, False),
    "inverted to 0.5, guided": (
        "invert:strength=0.5,steps=10",
        {"steps": 5, "guide": "free:scale=3"},
        True,
    ),
    "inverted to 0.75, guided": (
        "invert:strength=0.75,steps=10",
        {"steps": 5, "guide": "free:scale=3"},
        True,
    ),
}


def write(source: Source, rows: np.ndarray, path: Path, left_out: str = "") -> None:
    """Write some images of a source; without a class, the others are numbered anew."""
    images, labels = source.batch(rows.tolist())
    classes = [name for name in source.classes if name != left_out]
    number = [classes.index(name) if name in classes else -1 for name in source.classes]
    pixels = images.permute(0, 2, 3, 1).numpy()
    renumbered = np.array(number)[labels.numpy()]
    np.savez_compressed(path, arr_0=pixels, arr_1=renumbered, classes=np.array(classes))
    print(f"{path}: {len(rows)} images")


def write_data(out: Path, held_out: str, each: int) -> None:
    """Write train.npz without a class, and test.npz with as many images of it as of others."""
    out.mkdir(parents=True, exist_ok=True)
    train, test = (open_source("fashion-mnist", split=split) for split in ("train", "test"))
    label = train.classes.index(held_out)
    write(train, np.flatnonzero(train.labels.numpy() != label), out / "train.npz", held_out)
    own = np.flatnonzero(test.labels.numpy() == label)[:each]
    others = np.flatnonzero(test.labels.numpy() != label)[:each]
    write(test, np.sort(np.concatenate([own, others])), out / "test.npz")


@torch.no_grad()
def denoising_errors(
    model: adm.Pipeline, images: Tensor, levels: Sequence[int], label: int | None = None
) -> Tensor:
    """Return the mean squared error of the velocity that the model predicts, (N,)."""
    schedule, mean_errors = model.schedule, []
    for start in range(0, len(images), BATCH):
        x_0 = to_float(images[start : start + BATCH])
        labels = None if label is None else torch.full((len(x_0),), label)
        denoise = model.denoise(labels, precision=model.generator().shared["precision"])
        noise = ImageNoise(0, range(start, start + len(x_0)), model.shape)
        errors = []
        for level in levels:
            drawn = noise(level)
            p = denoise(process.diffuse(schedule, x_0, drawn, level), level)
            true = process.velocity(schedule, x_0, drawn, level)
            predicted = process.velocity(schedule, p.x_0, p.noise, level)
            errors.append((predicted - true).square().mean(dim=(1, 2, 3)))
        mean_errors.append(torch.stack(errors).mean(dim=0))
    return torch.cat(mean_errors)


def edited(
    model: adm.Pipeline, images: Tensor, kinds: Tensor | None, edit: str, settings: dict[str, Any]
) -> tuple[Tensor, int]:
    """Edit images, each to its class; return how far they differ, (N,), and the calls of each."""
    differences, calls = torch.zeros(len(images), dtype=torch.float64), 0
    for label in [None] if kinds is None else kinds.unique().tolist():
        rows = torch.arange(len(images)) if kinds is None else (kinds == label).nonzero()[:, 0]
        own = None if label is None else model.classes[label]
        edits = model.edit(images[rows], edit, own, sampler="unipc", seed=0, **settings)
        differences[rows], calls = nearest(images[rows], edits.images).score, edits.job.cost.network
    return differences, calls


def scores(
    model: adm.Pipeline, images: Tensor, chosen: list[str]
) -> Iterator[tuple[str, Tensor, int]]:
    """Yield the name of each score, the (N,) scores, and the calls of the network per image."""
    yield "mean of the pixels", images.float().mean(dim=(1, 2, 3)), 0
    yield "denoising error", denoising_errors(model, images, LEVELS), len(LEVELS)
    # The class with the least error is the most likely one (Li et al. 2023).
    labels = range(len(model.classes))
    of_class = torch.stack([denoising_errors(model, images, OF_CLASSES, y) for y in labels])
    calls = len(of_class) * len(OF_CLASSES)
    yield "denoising error of the nearest class", of_class.min(dim=0).values, calls
    kinds = of_class.argmin(dim=0)
    for name, (edit, settings, guided) in EDITS.items():
        if not chosen or name in chosen:
            targets = kinds if guided else None
            differences, edit_calls = edited(model, images, targets, edit, settings)
            yield name, differences, edit_calls + (calls if guided else 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    data = verbs.add_parser("data")
    data.add_argument("--out", type=Path, default=Path("data"))
    data.add_argument("--each", type=int, default=500)
    score = verbs.add_parser("score")
    score.add_argument("model")
    score.add_argument("--images", default="data/test.npz")
    score.add_argument("--only", nargs="*", default=[], help="rows of edits, by name")
    for each in (data, score):
        each.add_argument("--held-out", default="bag")
    args = parser.parse_args()
    if args.verb == "data":
        write_data(args.out, args.held_out, args.each)
        return
    source, model = open_source(args.images), adm.load(args.model)
    images, labels = source.batch(range(len(source)))
    strange = labels.numpy() == source.classes.index(args.held_out)
    print(f"{strange.sum()} of {len(strange)} images are {args.held_out}; {described()}\n")
    print("| score | calls per image | area (95% interval) |\n|---|--:|---|")
    for name, values, calls in scores(model, images, args.only):
        area = roc_area(values.double().numpy(), strange)
        interval = f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
        print(f"| {name} | {calls} | {interval} |", flush=True)


if __name__ == "__main__":
    main()
