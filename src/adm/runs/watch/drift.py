"""Samples, training images -> Compared, their channel moments; Compared -> warning or None."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from adm.data import Source, shuffled
from adm.runs.watch.times import Say, to_stderr

LEVELS = 12  # of 256 by which a mean or a deviation may differ
ERRORS = 4  # standard errors that it must differ by besides, for samples are few
SEED = 0
CHUNK = 16

Tint: TypeAlias = Callable[[Tensor, Tensor | None, int], "Compared"]


class Moments(NamedTuple):
    """Of pixels, (C,) float64 each, in levels of 0..255.

    Attributes:
        mean_spread: deviation, from image to image, of what one image says of the mean.
        std_spread: the same of the deviation.
        images: how many.
    """

    mean: Tensor
    std: Tensor
    mean_spread: Tensor
    std_spread: Tensor
    images: int


class Compared(NamedTuple):
    samples: Moments
    data: Moments


def tint(source: Source, total: int, *, count: int = 1000, say: Say = to_stderr) -> Tint:
    """Compare samples with data of the same classes; say so when their colours part.

    Nothing is said before half of the training is done or samples have once been right, and
    then once until they are right again.

    Args:
        source: the training images; `count` of them are measured at the first call.
        total: steps of the whole training.

    Returns:
        (N, C, H, W) uint8 samples, their (N,) labels or None, steps done -> both moments.
    """
    known = cache(lambda labels: reference(source, labels, count))
    trusted, said = False, False

    def compare(samples: Tensor, labels: Tensor | None, done: int) -> Compared:
        nonlocal trusted, said
        of_classes = None if labels is None else tuple(labels.unique().tolist())
        found = Compared(moments(samples), known(of_classes))
        warning = parted(found)
        trusted = trusted or warning is None or 2 * done >= total
        if warning is not None and trusted and not said:
            say(f"step {done}: {warning}")
        said = warning is not None and trusted
        return found

    return compare


def named(found: Compared, with_data: bool) -> dict[str, float]:
    """`samples/mean_c0`, `samples/std_c0` ..., and the same of the data when asked for."""
    groups = {"samples": found.samples, **({"data": found.data} if with_data else {})}
    return {
        f"{group}/{what}_c{c}": round(float(value), 3)
        for group, held in groups.items()
        for what, values in (("mean", held.mean), ("std", held.std))
        for c, value in enumerate(values)
    }


def reference(source: Source, labels: tuple[int, ...] | None, count: int) -> Moments:
    """Moments of `count` images of the data, drawn evenly from these classes, if they have any."""
    order = torch.tensor(shuffled(SEED, len(source), 0, len(source)))
    if labels is None:
        chosen = [order[:count]]
    else:
        each = -(-count // len(labels))
        chosen = [order[source.labels[order] == label][:each] for label in labels]
        chosen = [indices for indices in chosen if len(indices)] or [order[:count]]
    share = 1 / len(chosen)
    weights = torch.cat(
        [torch.full((len(c),), share / len(c), dtype=torch.float64) for c in chosen]
    )
    indices = torch.cat(chosen).tolist()
    batches = [source.batch(indices[i : i + CHUNK])[0] for i in range(0, len(indices), CHUNK)]
    means, squares = zip(*(_of_images(images) for images in batches), strict=True)
    return _moments(torch.cat(means), torch.cat(squares), weights)


def moments(images: Tensor) -> Moments:
    """(N, C, H, W) uint8 -> the mean and deviation of all pixels of each channel."""
    weights = torch.full((len(images),), 1 / len(images), dtype=torch.float64)
    return _moments(*_of_images(images), weights)


def parted(found: Compared) -> str | None:
    """What to say if a channel differs by more than `LEVELS` and more than chance allows."""
    ours, theirs = found.samples, found.data
    shares = (1 / ours.images + 1 / theirs.images) ** 0.5
    for what, got, wanted, spread in (
        ("mean", ours.mean, theirs.mean, theirs.mean_spread),
        ("deviation", ours.std, theirs.std, theirs.std_spread),
    ):
        off = (got - wanted).abs()
        # Few samples know too little of their own spread: were they data, it would be the data's.
        wrong = (off > LEVELS) & (off > ERRORS * shares * spread)
        if wrong.any():
            c = int(off.where(wrong, 0).argmax())
            return (
                f"colours drift: channel {c} of samples has {what} {got[c]:.0f} of 255 and the "
                f"data {wanted[c]:.0f}; check the preview, and compare raw weights with averages"
            )
    return None


def _of_images(images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C) means of each image's pixels and of their squares."""
    wide = images.double().flatten(2)
    return wide.mean(2), (wide**2).mean(2)


def _moments(means: Tensor, squares: Tensor, weights: Tensor) -> Moments:
    """Of images that count by (N,) weights, whose sum is 1."""
    w = weights[:, None]
    mean = (w * means).sum(0)
    around = squares - 2 * mean * means + mean**2  # (N, C) of each image, about the common mean
    std = (w * around).sum(0).clamp(min=0).sqrt()
    mean_spread = (w * (means - mean) ** 2).sum(0).sqrt()
    # d std = d var / (2 std); images without contrast have no spread either
    std_spread = (w * (around - std**2) ** 2).sum(0).sqrt() / (2 * std).clamp(min=1e-9)
    return Moments(mean, std, mean_spread, std_spread, len(means))
