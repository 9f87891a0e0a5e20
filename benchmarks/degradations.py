"""Real images made worse in six ways -> which scores notice, in the features at hand.

    OMP_NUM_THREADS=1 python benchmarks/degradations.py --emoji emoji          # prints the table

The reference and the samples are 1,500 images each, of the test images of Fashion-MNIST and of the
training images of `tools/emoji.py`, without an image in common. Samples are damaged at four
strengths. A score notices a strength if its interval there lies wholly on the worse side of the
interval of the undamaged samples. It is monotone if it is worse at every strength than at the one
before. `--work` caches the features for another run.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from adm.data import Source
from adm.data.source import in_memory
from adm.features import Features, open_features
from adm.metrics import METRICS, Score, Sets, statistics
from adm.scoring import Extraction, extract, open_images

COUNT, POOL = 1500, 4000  # samples, and undamaged images from which some damages choose
SHOWN = (
    *("frechet", "sliced_wasserstein", "kernel_distance", "gaussian_kernel"),
    *("precision", "recall", "density", "coverage"),
)

Change = Callable[[Image.Image, float], Image.Image]
Case = tuple[str, str, str, float]  # images, features, damage, strength


def blur(image: Image.Image, strength: float) -> Image.Image:
    """Blur with a Gaussian of this deviation in pixels."""
    return image.filter(ImageFilter.GaussianBlur(strength))


def noise(image: Image.Image, strength: float) -> Image.Image:
    """Add Gaussian noise of this deviation, of 255."""
    pixels = np.asarray(image, np.float64)
    random = np.random.default_rng(int(pixels.sum()))
    noisy = pixels + strength * random.standard_normal(pixels.shape)
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, strength: float) -> Image.Image:
    """Encode with this quality."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(strength))
    return Image.open(file).convert(image.mode)


CHANGES: dict[str, tuple[Change, Sequence[float]]] = {
    "blur": (blur, (0.5, 0.75, 1.0, 2.0)),
    "noise": (noise, (8, 16, 32, 64)),
    "JPEG": (jpeg, (70, 40, 20, 5)),
}
CHOICES = {  # of undamaged images
    "fewer classes": (0.9, 0.8, 0.6, 0.4),  # share of the classes that remains
    "duplicates": (2, 4, 8, 16),  # copies of each image
    "one class more often": (0.02, 0.05, 0.1, 0.15),  # share of samples replaced by it
}


@dataclass(frozen=True)
class Data:
    """Images to damage, and the judge that was trained on such images."""

    name: str
    source: Source
    judge: str


def changed(source: Source, change: Change, strength: float) -> Source:
    """Return the images, changed one by one."""
    images, labels = source.batch(range(len(source)))
    tensors = []
    for image in images:
        grey = len(image) == 1
        picture = Image.fromarray(image[0].numpy() if grey else image.permute(1, 2, 0).numpy())
        pixels = torch.from_numpy(np.array(change(picture, strength)))
        tensors.append(pixels[None] if grey else pixels.permute(2, 0, 1))
    return in_memory(source.name, source.classes, torch.stack(tensors), labels)


def chosen(labels: np.ndarray, damage: str, strength: float) -> np.ndarray:
    """Return `COUNT` rows of the pool, whose first `COUNT` rows are the undamaged samples."""
    own, sizes = np.arange(COUNT), np.bincount(labels)
    if damage == "duplicates":
        return np.tile(own[: int(COUNT / strength)], int(strength) + 1)[:COUNT]
    largest = np.argsort(-sizes, kind="stable")
    if damage == "fewer classes":
        left = largest[: round(strength * len(sizes))]
        rows = np.flatnonzero(np.isin(labels, left))
    else:
        extra = np.flatnonzero(labels[COUNT:] == largest[0])[: int(strength * COUNT)] + COUNT
        rows = np.concatenate([own[: COUNT - len(extra)], extra])
    assert len(rows) >= COUNT, f"{damage} {strength}: {len(rows)} images"
    return rows[:COUNT]


def sets_of(data: Data, features: Features, work: Path | None) -> Iterator[tuple[str, float, Sets]]:
    """Yield damage, strength and the sets to score; strength 0 is undamaged."""

    def pool(name: str, source: Source) -> np.ndarray:
        folder = None if work is None else work / data.name / features.name / name
        return np.array(extract(source, features, Extraction(work=folder)).pool)

    rows = np.random.default_rng(0).permutation(len(data.source))
    real = pool("real", data.source.subset(rows[:COUNT]))
    others = data.source.subset(rows[COUNT : COUNT + POOL])
    samples, labels = others.subset(np.arange(COUNT)), others.labels.numpy()
    clean = pool("clean", others)
    of_real = statistics(real)

    def sets(fake: np.ndarray) -> Sets:
        own = statistics(fake)
        return Sets(fake=fake, real=real, fake_statistics=own, real_statistics=of_real)

    yield "none", 0, sets(clean[:COUNT])
    for damage, (change, strengths) in CHANGES.items():
        for each in strengths:
            yield damage, each, sets(pool(f"{damage}-{each}", changed(samples, change, each)))
    for damage, strengths in CHOICES.items():
        for each in strengths:
            yield damage, each, sets(clean[chosen(labels, damage, each)])


def verdict(key: str, scores: Sequence[Score]) -> str:
    """Return how many strengths are noticed, with * where the score is not monotone.

    Args:
        scores: of the undamaged samples, then of each strength.
    """
    sign = 1 if METRICS[key].lower_is_better else -1
    ends = [sorted((sign * each.low, sign * each.high)) for each in scores]
    noticed = sum(low > ends[0][1] for low, _ in ends[1:])
    monotone = all(sign * a.value < sign * b.value for a, b in pairwise(scores))
    return f"{noticed}" if monotone else f"{noticed}*"


def table(by_case: Mapping[Case, Mapping[str, Score]]) -> str:
    """Return the rows: data, features, damage, and the verdict on each score."""
    heads = [METRICS[key].title for key in SHOWN]
    lines = [
        f"| images, features | damage | {' | '.join(heads)} |",
        "|---|---|" + "--:|" * len(heads),
    ]
    for case in dict.fromkeys(each[:3] for each in by_case if each[3]):
        clean = by_case[(*case[:2], "none", 0)]
        steps = [clean, *(scores for each, scores in by_case.items() if each[:3] == case)]
        cells = [verdict(key, [scores[key] for scores in steps]) for key in SHOWN]
        lines.append(f"| {case[0]}, {case[1]} | {case[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--emoji", default="emoji", help="folder of `tools/emoji.py`")
    parser.add_argument("--work", type=Path, help="folder in which features are cached")
    parser.add_argument("--out", type=Path, help="JSON file of all values")
    args = parser.parse_args()
    emoji = open_images(args.emoji, size=(32, 32)).source
    fashion = open_images("fashion-mnist", split="test").source
    both = (Data("fashion-mnist", fashion, "fashion-judge"), Data("emoji", emoji, "emoji-judge"))
    by_case: dict[Case, dict[str, Score]] = {}
    for data in both:
        for name in (data.judge, "efficientnet-lite0"):
            for damage, strength, sets in sets_of(data, open_features(name), args.work):
                scores = {key: METRICS[key].score(sets) for key in SHOWN}
                own = {key: each for key, each in scores.items() if each is not None}
                by_case[data.name, name, damage, strength] = own
                print(data.name, name, damage, strength, flush=True)
    print(table(by_case))
    if args.out is not None:
        rows = [[*case, {k: x.to_json() for k, x in own.items()}] for case, own in by_case.items()]
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
