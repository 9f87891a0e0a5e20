"""Images, uniforms -> changed images: differentiable augmentation (Zhao et al. 2020).

The discriminator sees real and generated images through the same random changes, so that it cannot
learn a small data set by heart, and the generator does not learn the changes. Gradients pass
through them.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from adm.adversarial.settings import Change

UNIFORMS = 7  # of an image: three of the colour, two each of translation and cutout
SHIFT = 1 / 8  # largest translation, as a share of the side
CUT = 1 / 2  # side of the square that is cut out, as a share of the image's


def augmented(images: Tensor, uniforms: Tensor, kinds: Sequence[Change]) -> Tensor:
    """Apply random changes.

    Args:
        images: (B, C, H, W) in [-1, 1].
        uniforms: (B, `UNIFORMS`) in [0, 1).
        kinds: the changes, in order.

    Returns:
        (B, C, H, W).
    """
    for kind in kinds:
        images = CHANGES[kind](images, uniforms)
    return images


def _colour(images: Tensor, uniforms: Tensor) -> Tensor:
    """Change the brightness by up to 0.5, the saturation up to twofold, the contrast by half."""
    brightness, saturation, contrast = (
        column[:, None, None, None] for column in uniforms[:, :3].unbind(1)
    )
    x = images + brightness - 0.5
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    level = x.mean((1, 2, 3), keepdim=True)
    return level + (x - level) * (contrast + 0.5)


def _translation(images: Tensor, uniforms: Tensor) -> Tensor:
    """Shift by up to `SHIFT` of each side; what enters is 0."""
    sides = torch.tensor(images.shape[2:], device=images.device)
    most = (sides * SHIFT + 0.5).long()
    shift = (uniforms[:, 3:5] * (2 * most + 1)).long() - most  # (B, 2)
    height, width = images.shape[2:]
    rows, columns = _moved(height, shift[:, 0]), _moved(width, shift[:, 1])
    padded = F.pad(images, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[numbers, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _moved(side: int, shift: Tensor) -> Tensor:
    """Return (B, side) places in an image with a border of 1 from which pixels are taken."""
    places = torch.arange(side, device=shift.device) + 1 + shift[:, None]
    return places.clamp(0, side + 1)


def _cutout(images: Tensor, uniforms: Tensor) -> Tensor:
    """Set a square of `CUT` of each side, with its centre anywhere, to 0."""
    outside = []
    for side, u in zip(images.shape[2:], uniforms[:, 5:7].unbind(1), strict=True):
        cut = int(side * CUT + 0.5)
        first = (u * (side + 1 - cut % 2)).long() - cut // 2  # may lie outside
        place = torch.arange(side, device=images.device)
        outside.append((place < first[:, None]) | (place >= first[:, None] + cut))
    mask = outside[0][:, None, :, None] | outside[1][:, None, None, :]
    return images * mask


CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "colour": _colour,
    "translation": _translation,
    "cutout": _cutout,
}
