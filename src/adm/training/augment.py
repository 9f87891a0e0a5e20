"""Images, draws -> changed images, and labels of the changes, which a network receives.

Augmentation that does not leak into samples (Karras et al. 2020; 2022, appendix F.2): each change
happens with a probability of its own, and the network is conditioned on its size, zero for none.
Sampling omits these labels, which gives images without changes.

The changes of an image, one affine map, are resampled at twice the resolution. The filters of
both resamplings are those of a biorthogonal wavelet: they suppress what would alias, and where
nothing moves, or by whole pixels, they cancel.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adm.images import to_float, to_uint8

PARAMETERS = 8  # of an image: see `draw_changes`
AUGMENT_DIM = 9  # labels of an image's changes: see `augment_labels`
SPREAD = 0.2  # standard deviation of log2 of a size (Karras et al. 2022, table 6)
SHIFT = 1 / 8  # standard deviation of a translation, as a share of the side
# Cohen, Daubechies and Feauveau 1992, 9/7: synthesis, from the centre, and analysis.
UP = (1.115087052457, 0.591271763114, -0.057543526229, -0.091271763114)
DOWN = (0.602949018236, 0.266864118443, -0.078223266529, -0.016864118443, 0.026748757411)


def draw_changes(probability: float, generator: np.random.Generator) -> np.ndarray:
    """Draw the parameters of one image's changes.

    Args:
        probability: of each of the six changes.

    Returns:
        (`PARAMETERS`,) float64, each zero if its change does not happen: mirrored left to right and
        top to bottom (1); log2 of the size, in `SPREAD`; the angle of rotation, clockwise; log2 of
        the stretch, in `SPREAD`, and the angle of its axis; translation to the right and down, in
        `SHIFT`.
    """
    left, up, size, turn, stretch, move = generator.random(6) < probability
    turned, axis = math.pi * (2 * generator.random(2) - 1)
    sized, stretched, right, down = generator.standard_normal(4)
    happen = np.array([left, up, size, turn, stretch, stretch, move, move])
    return happen * np.array([1, 1, sized, turned, stretched, axis, right, down])


def augment_labels(parameters: np.ndarray) -> Tensor:
    """(B, `PARAMETERS`) -> (B, `AUGMENT_DIM`) float32, zero for an image without changes.

    Angles are represented by their cosine and sine, which have no jump.
    """
    left, up, size, turn, stretch, axis, right, down = parameters.T
    turned = (np.cos(turn) - 1, np.sin(turn))
    stretched = (stretch * np.cos(axis), stretch * np.sin(axis))
    columns = [left, up, size, *turned, *stretched, right, down]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def change(images: Tensor, parameters: np.ndarray) -> Tensor:
    """Apply the changes to images (B, C, H, W) uint8; those without one stay as they are.

    Beyond the edges an image goes on as its outermost pixels: most drawings have an even
    background, on which a reflection would repeat the object.
    """
    rows = torch.from_numpy(parameters.any(axis=1))
    if not rows.any():
        return images
    changed = images.clone()
    sources = _sources(parameters[rows.numpy()], images.shape[2:])
    changed[rows] = to_uint8(_resampled(to_float(images[rows]), sources))
    return changed


def _sources(parameters: np.ndarray, size: torch.Size) -> Tensor:
    """Return (B, 2, 3): where each place (x, y, 1) comes from, in pixels from the centre.

    The inverse of mirror, size, rotation, stretch and translation, in this order.
    """
    left, up, log_size, turn, log_stretch, axis, right, down = parameters.T
    zero = np.zeros_like(left)
    stretch = 2 ** (SPREAD * log_stretch)
    mirrored = _matrix(1 - 2 * left, zero, zero, 1 - 2 * up)
    narrowed = _rotation(axis) @ _matrix(1 / stretch, zero, zero, stretch) @ _rotation(-axis)
    linear = mirrored @ _rotation(-turn) @ narrowed / 2 ** (SPREAD * log_size)[:, None, None]
    height, width = size
    moved = SHIFT * np.stack([right * width, down * height], axis=1)[:, :, None]
    return torch.from_numpy(np.concatenate([linear, -linear @ moved], axis=2))


def _matrix(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.stack([a, b, c, d], axis=1).reshape(-1, 2, 2)


def _rotation(angle: np.ndarray) -> np.ndarray:
    return _matrix(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


def _resampled(images: Tensor, sources: Tensor) -> Tensor:
    """(B, C, H, W), (B, 2, 3) -> (B, C, H, W), by way of twice the resolution."""
    (up_y, down_y), (up_x, down_x) = (_filters(side) for side in images.shape[2:])
    fine = up_y @ images @ up_x.T
    y, x = ((torch.arange(side) - side // 2) / 2 for side in fine.shape[2:])  # both sides are odd
    places = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(len(y), len(x))])
    points = (sources @ places.flatten(1).double()).mT.reshape(-1, len(y), len(x), 2)
    grid = (points / torch.stack([x[-1], y[-1]])).float()
    moved = F.grid_sample(fine, grid, padding_mode="border", align_corners=True)
    return down_y @ moved @ down_x.T


@cache
def _filters(side: int) -> tuple[Tensor, Tensor]:
    """Return the filters of a side as matrices, (2 side + 7, side) and (side, 2 side + 7).

    The finer one of the two reaches two pixels beyond the edges.
    """
    pixels, places = np.arange(-4, side + 4), np.arange(2 * side + 7)
    distance = np.abs(places[:, None] - 2 * (pixels + 2))
    up, down = (np.array([*half, *[0] * len(places) * 2])[distance] for half in (UP, DOWN))
    edges = np.eye(side)[pixels.clip(0, side - 1)]
    return torch.from_numpy(up @ edges).float(), torch.from_numpy(down[:, 4:-4].T).float()
