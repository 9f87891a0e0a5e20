"""How images are preprocessed for networks: by definition, by hand, and as torch-fidelity does."""

import numpy as np
import pytest
import torch
from torch import Tensor

from adm.features.preprocess import rgb, smooth_bicubic, tensorflow_bilinear


def by_definition(image: np.ndarray, size: int) -> np.ndarray:
    """TensorFlow 1's loop over the pixels of one (H, W) plane, in float64."""
    height, width = image.shape
    out = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            y, x = i * height / size, j * width / size
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            lower = image[below, left] * (1 - (x - left)) + image[below, right] * (x - left)
            out[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return out


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).byte()


@pytest.mark.parametrize(
    ("height", "width", "size"), [(8, 8, 29), (5, 12, 7), (40, 31, 9), (1, 1, 3)]
)
def test_tensorflow_resizing_is_its_definition(height: int, width: int, size: int) -> None:
    images = noise(2, 3, height, width)
    resized = tensorflow_bilinear(images, size)
    assert resized.shape == (2, 3, size, size)
    expected = by_definition(images[1, 2].numpy().astype(float), size)
    np.testing.assert_allclose(resized[1, 2].numpy(), expected, atol=1e-3)  # float32 places


@pytest.mark.parametrize("size", [28, 64, 299, 333])
def test_tensorflow_resizing_is_torch_fidelitys_bit_for_bit(size: int) -> None:
    compat = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = noise(2, 3, size, size + 5)
    theirs = compat.interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    assert torch.equal(tensorflow_bilinear(images, 299), theirs)


def test_smooth_resizing_keeps_constants_and_range_and_takes_the_whole_image() -> None:
    assert torch.allclose(
        smooth_bicubic(torch.full((1, 3, 9, 20), 200).byte(), 224), torch.tensor(200.0)
    )
    resized = smooth_bicubic((noise(1, 3, 30, 30) > 127) * 255, 224)
    assert resized.min() == 0
    assert resized.max() == 255
    wide = torch.zeros(1, 3, 100, 400)
    wide[..., :20] = 255  # at an end that a centre crop would lose
    assert smooth_bicubic(wide, 50)[0, 0, 25, 0] > 250


def test_grey_becomes_rgb_and_other_channels_are_refused() -> None:
    grey = noise(2, 1, 4, 4)
    extracted = rgb(grey, "it")
    assert extracted.shape == (2, 3, 4, 4)
    assert all(torch.equal(extracted[:, channel], grey[:, 0]) for channel in range(3))
    with pytest.raises(ValueError, match=r"RGBA.*background"):
        rgb(noise(2, 4, 4, 4), "it")
    with pytest.raises(ValueError, match="2 channels"):
        rgb(noise(2, 2, 4, 4), "it")
