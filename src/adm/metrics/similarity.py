"""Images, images -> (N,) PSNR and SSIM of each pair."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, DEVIATION = 11, 1.5  # of the Gaussian window of SSIM, in pixels
LUMINANCE, CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # constants of SSIM
MOST_PSNR = 100.0  # of equal images, for which it is infinite


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image, (N,) float64 decibels, at most 100.

    Args:
        images, truth: (N, C, H, W) uint8.
    """
    error = (images.double() - truth.double()).square().flatten(1).mean(dim=1)
    return (10 * (255**2 / error).log10()).clamp(max=MOST_PSNR)


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity of each image (Wang et al. 2004), (N,) float64, at most 1.

    It is the mean over channels and all positions at which the window of 11x11, or of the smaller
    side of the image, is inside.

    Args:
        images, truth: (N, C, H, W) uint8.
    """
    window = min(WINDOW, (min(truth.shape[2:]) - 1) // 2 * 2 + 1)
    line = torch.exp(-0.5 * ((torch.arange(window) - window // 2).double() / DEVIATION) ** 2)
    weights = (line[:, None] * line / line.sum() ** 2).expand(truth.shape[1], 1, -1, -1)

    def local(x: Tensor) -> Tensor:
        return F.conv2d(x, weights, groups=len(weights))

    x, y = images.double(), truth.double()
    mean_x, mean_y = local(x), local(y)
    both = mean_x * mean_y
    variances = local(x * x) + local(y * y) - mean_x**2 - mean_y**2
    covariance = local(x * y) - both
    similarity = (2 * both + LUMINANCE) / (mean_x**2 + mean_y**2 + LUMINANCE)
    similarity = similarity * (2 * covariance + CONTRAST) / (variances + CONTRAST)
    return similarity.flatten(1).mean(dim=1)
