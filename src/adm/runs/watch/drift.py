"""Samples, training images -> Compared, their channel moments; Compared -> warning or None."""

import logging
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from adm.data import Source, shuffle

MOST_OFF_OF_255 = 12  # by which a mean or a deviation of a channel may differ
ERRORS = 4  # standard errors by which it must differ as well, because samples are few
SEED = 0
CHUNK = 16  # images read at a time

log = logging.getLogger("adm")

Tint: TypeAlias = Callable[[Tensor, Tensor | None, int], "Compared"]


class Colours(NamedTuple):
    """Moments of the pixels of each channel: (C,) float64, in units of 1/255 of the range.

    Attributes:
        mean: mean of all pixels.
        std: standard deviation of all pixels.
        mean_spread: standard deviation over images of one image's estimate of `mean`.
        std_spread: standard deviation over images of one image's estimate of `std`, to first order.
        images: number of images.
    """

    mean: Tensor
    std: Tensor
    mean_spread: Tensor
    std_spread: Tensor
    images: int


class Compared(NamedTuple):
    """The moments of samples, and those of training images of the same classes."""

    samples: Colours
    data: Colours


class Difference(NamedTuple):
    """How a moment of one channel of samples differs from that of the data, in 1/255 of the range.

    Attributes:
        what: mean or deviation.
        channel: its name.
        got, expected: the moment of the samples, and of the data.
        error: standard error of their difference.
    """

    what: str
    channel: str
    got: float
    expected: float
    error: float

    @property
    def off(self) -> float:
        """The size of the difference."""
        return abs(self.got - self.expected)

    def exceeds(self, levels: float, errors: float = ERRORS) -> bool:
        """Return whether it is larger than so many levels, and than so many standard errors."""
        return self.off > levels and self.off > errors * self.error


def tint(source: Source, total: int, *, count: int = 1000) -> Tint:
    """Return a function that compares the colours of samples and data, and warns if they differ.

    The first warning comes no earlier than at half of the training, or once the colours have
    agreed. It is not repeated until they have agreed again.

    Args:
        source: the training images; `count` of them are measured at the first call.
        total: steps of the whole training.

    Returns:
        A function of samples (N, C, H, W) uint8, their labels (N,) or None, and the steps done.
    """
    reference_of = cache(lambda labels: reference(source, labels, count))
    trusted, warned = False, False

    def of_samples(samples: Tensor, labels: Tensor | None, done: int) -> Compared:
        nonlocal trusted, warned
        of_classes = None if labels is None else tuple(labels.unique().tolist())
        compared = Compared(moments(samples), reference_of(of_classes))
        warning = warning_of(compared)
        trusted = trusted or warning is None or 2 * done >= total
        if warning is not None and trusted and not warned:
            log.warning(f"step {done}: {warning}")
        warned = warning is not None and trusted
        return compared

    return of_samples


def compare(samples: Tensor, data: Tensor) -> Compared:
    """Return the moments of two sets of images, (N, C, H, W) uint8."""
    return Compared(moments(samples), moments(data))


def figures_of(compared: Compared, with_data: bool) -> dict[str, float]:
    """Return `samples/mean_c0`, `samples/std_c0` ..., and `data/...` too if `with_data`."""
    groups = {"samples": compared.samples, **({"data": compared.data} if with_data else {})}
    return {
        f"{group}/{what}_c{c}": round(float(value), 3)
        for group, own in groups.items()
        for what, values in (("mean", own.mean), ("std", own.std))
        for c, value in enumerate(values)
    }


def channel_names(channels: int) -> tuple[str, ...]:
    """Return the names of the channels of an image, in order."""
    names = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}
    return names.get(channels) or tuple(f"channel {c}" for c in range(1, channels + 1))


def reference(source: Source, labels: tuple[int, ...] | None, count: int) -> Colours:
    """Return the moments of `count` training images, equally many of each class in `labels`.

    Classes without images are left out. If none has any, or `labels` is None, the images are drawn
    from all classes.
    """
    order = torch.tensor(shuffle(SEED, len(source), 0, len(source)))
    if labels is None:
        chosen = [order[:count]]
    else:
        per_class = -(-count // len(labels))
        chosen = [order[source.labels[order] == label][:per_class] for label in labels]
        chosen = [indices for indices in chosen if len(indices)] or [order[:count]]
    share = 1 / len(chosen)
    weights = torch.cat(
        [torch.full((len(c),), share / len(c), dtype=torch.float64) for c in chosen]
    )
    indices = torch.cat(chosen).tolist()
    batches = [source.batch(indices[i : i + CHUNK])[0] for i in range(0, len(indices), CHUNK)]
    means, squares = zip(*(_of_images(images) for images in batches), strict=True)
    return _moments(torch.cat(means), torch.cat(squares), weights)


def moments(images: Tensor) -> Colours:
    """Return the moments of images (N, C, H, W) uint8."""
    weights = torch.full((len(images),), 1 / len(images), dtype=torch.float64)
    return _moments(*_of_images(images), weights)


def differences(compared: Compared) -> list[Difference]:
    """Return the differences of the means of all channels, then of their deviations."""
    ours, theirs = compared.samples, compared.data
    shares = (1 / ours.images + 1 / theirs.images) ** 0.5
    names = channel_names(len(ours.mean))
    # The spread of the data for both: that of few samples is too uncertain.
    return [
        Difference(what, *each)
        for what, got, expected, spread in (
            ("mean", ours.mean, theirs.mean, theirs.mean_spread),
            ("deviation", ours.std, theirs.std, theirs.std_spread),
        )
        for each in zip(
            names, got.tolist(), expected.tolist(), (shares * spread).tolist(), strict=True
        )
    ]


def warning_of(compared: Compared) -> str | None:
    """Return a warning if a channel is off by `MOST_OFF_OF_255` and by `ERRORS`, or None."""
    wrong = [each for each in differences(compared) if each.exceeds(MOST_OFF_OF_255)]
    if not wrong:
        return None
    # The largest of the means, or else of the deviations.
    first = max((each for each in wrong if each.what == wrong[0].what), key=lambda each: each.off)
    return (
        f"the colours differ: in {first.channel}, samples have {first.what} {first.got:.0f} of 255,"
        f" and the data {first.expected:.0f}; check the preview, and compare raw and average "
        "weights"
    )


def _of_images(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (N, C) means of each image's pixels and of their squares."""
    wide = images.double().flatten(2)
    return wide.mean(2), (wide**2).mean(2)


def _moments(means: Tensor, squares: Tensor, weights: Tensor) -> Colours:
    """Combine the (N, C) means of images, with (N,) weights that sum to 1."""
    w = weights[:, None]
    mean = (w * means).sum(0)
    around = squares - 2 * mean * means + mean**2  # (N, C), about the common mean
    std = (w * around).sum(0).clamp(min=0).sqrt()
    mean_spread = (w * (means - mean) ** 2).sum(0).sqrt()
    # d std = d var / (2 std); the clamp is for images without contrast, whose spread is 0
    std_spread = (w * (around - std**2) ** 2).sum(0).sqrt() / (2 * std).clamp(min=1e-9)
    return Colours(mean, std, mean_spread, std_spread, len(means))
