"""Images -> Colours, moments of the pixels of each channel; Colours of two -> warning or None."""

from typing import NamedTuple

import torch
from torch import Tensor

from adm.data import Source, shuffle
from adm.images import to_uint8

MOST_OFF_OF_255 = 12  # by which a mean or a deviation of a channel may differ
ERRORS = 4  # standard errors by which it must differ as well, because samples are few
SEED = 0
COUNT = 1000  # training images that samples are compared with
CHUNK = 16  # images read at a time


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

    def exceeds(self, most: float) -> bool:
        """Return whether it is larger than so many of 255, and than `ERRORS` standard errors."""
        return self.off > most and self.off > ERRORS * self.error


def moments(images: Tensor) -> Colours:
    """Return the moments of images (N, C, H, W), of those of other ranges in 8 bits."""
    weights = torch.full((len(images),), 1 / len(images), dtype=torch.float64)
    return _moments(*_of_images(images), weights)


def reference(source: Source, labels: Tensor | None, count: int = COUNT) -> Colours:
    """Return the moments of `count` training images, equally many of each class in `labels`.

    Classes without images are left out. If none has any, or `labels` is None, the images are drawn
    from all classes.

    Args:
        labels: (N,) of samples.
    """
    order = torch.tensor(shuffle(SEED, len(source), 0, len(source)))
    chosen = []
    if labels is not None:
        classes = labels.unique()
        each = -(-count // len(classes))
        chosen = [order[source.labels[order] == label][:each] for label in classes]
        chosen = [indices for indices in chosen if len(indices)]
    chosen = chosen or [order[:count]]
    share = 1 / len(chosen)
    weights = torch.cat(
        [torch.full((len(c),), share / len(c), dtype=torch.float64) for c in chosen]
    )
    indices = torch.cat(chosen).tolist()
    batches = [source.batch(indices[i : i + CHUNK])[0] for i in range(0, len(indices), CHUNK)]
    means, squares = zip(*(_of_images(images) for images in batches), strict=True)
    return _moments(torch.cat(means), torch.cat(squares), weights)


def differences(samples: Colours, data: Colours) -> list[Difference]:
    """Return the differences of the means of all channels, then of their deviations."""
    shares = (1 / samples.images + 1 / data.images) ** 0.5
    names = channel_names(len(data.mean))
    # The spread of the data for both: that of few samples is too uncertain.
    return [
        Difference(what, *each)
        for what, got, expected, spread in (
            ("mean", samples.mean, data.mean, data.mean_spread),
            ("deviation", samples.std, data.std, data.std_spread),
        )
        for each in zip(
            names, got.tolist(), expected.tolist(), (shares * spread).tolist(), strict=True
        )
    ]


def warning_of(samples: Colours, data: Colours) -> str | None:
    """Return a warning if a channel is off by `MOST_OFF_OF_255` and by `ERRORS`, or None."""
    wrong = [each for each in differences(samples, data) if each.exceeds(MOST_OFF_OF_255)]
    if not wrong:
        return None
    # The largest of the means, or else of the deviations.
    first = max((each for each in wrong if each.what == wrong[0].what), key=lambda each: each.off)
    return (
        f"the colours differ: in {first.channel}, samples have {first.what} {first.got:.0f} of 255,"
        f" and the data {first.expected:.0f}; check the preview, and compare raw and average "
        "weights"
    )


def figures_of(group: str, colours: Colours) -> dict[str, float]:
    """Return such as `samples/mean_c0`, `samples/std_c0`, ... for the group `samples`."""
    return {
        f"{group}/{what}_c{channel}": round(float(value), 3)
        for what, values in (("mean", colours.mean), ("std", colours.std))
        for channel, value in enumerate(values)
    }


def channel_names(channels: int) -> tuple[str, ...]:
    """Return the names of the channels of an image, in order."""
    names = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}
    return names.get(channels) or tuple(f"channel {c}" for c in range(1, channels + 1))


def _of_images(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (N, C) means of each image's pixels and of their squares."""
    wide = to_uint8(images).double().flatten(2)
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
