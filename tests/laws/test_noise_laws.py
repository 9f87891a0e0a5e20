"""seed, index, level, draw -> noise: a function of these alone."""

import itertools

import pytest
import torch
from scipy import stats

from adm.samplers import ImageNoise

SHAPE = (3, 8, 8)


def test_image_17_is_the_same_alone_and_in_any_batch():
    alone = ImageNoise(5, [17], SHAPE)
    for images in (range(64), [17, 3], [3, 17, 17]):
        batch = ImageNoise(5, images, SHAPE)
        for level in (1, 2, 1000):
            for place in (i for i, image in enumerate(images) if image == 17):
                assert torch.equal(batch(level)[place], alone(level)[0])
        assert torch.equal(batch.start()[list(images).index(17)], alone.start()[0])


def test_the_order_and_number_of_draws_do_not_matter():
    noise = ImageNoise(5, [1, 2], SHAPE)
    forth = {level: noise(level) for level in (1, 2, 3)}
    back = {level: noise(level) for level in (3, 2, 1, 1)}
    assert all(torch.equal(forth[level], back[level]) for level in forth)


def test_every_seed_image_and_level_has_noise_of_its_own():
    """No two of 64 draws are correlated: 6 standard errors are 0.43 at 192 pixels."""
    draws = [
        ImageNoise(seed, [image], SHAPE)(level).flatten()
        for seed, image, level in itertools.product((0, 1, 2, 99), repeat=3)
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max() < 0.43


def test_every_seed_below_2_to_the_64_counts_to_its_last_bit():
    """Seeds that differ by one, where a float's 53 bits no longer distinguish them."""
    draws = [ImageNoise(seed, [3], SHAPE)(1) for seed in range(2**64 - 4, 2**64)]
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(draws, 2))


def test_no_draw_is_another_one_shifted():
    """Streams that overlap look independent pixel by pixel, yet share their numbers."""
    noise = ImageNoise(0, [0, 1], SHAPE)
    draws = [image for level in (0, 1, 2, 3, 500) for image in noise(level)]
    for one, other in itertools.combinations(draws, 2):
        assert torch.isin(one, other).float().mean() < 0.05


def test_the_start_is_not_the_noise_of_any_step():
    noise = ImageNoise(0, [0], SHAPE)
    assert all(not torch.equal(noise.start(), noise(level)) for level in range(1, 50))


@pytest.mark.parametrize("level", [0, 1, 500])
@pytest.mark.parametrize("axis", [0, 1], ids=["across images", "within an image"])
def test_noise_is_standard_normal(axis, level):
    """Judged by all images at once: the p-values of Kolmogorov's test are themselves uniform.

    A bound on one image's p-value would fail by chance at its own rate.
    """
    drawn = ImageNoise(3, range(400), SHAPE)(level)
    assert drawn.dtype == torch.float32
    pixels = drawn.flatten(1).double().numpy()
    p_values = stats.kstest(pixels, "norm", axis=axis).pvalue
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4


def test_the_draws_of_one_level_are_apart_and_the_first_is_the_default():
    noise = ImageNoise(5, [3, 4], SHAPE)
    assert torch.equal(noise(7), noise(7, 0))
    draws = [noise(7, draw) for draw in range(3)] + [noise(8, 0), noise(6, 1)]
    for one, other in itertools.combinations(draws, 2):
        assert torch.isin(one, other).float().mean() < 0.05


def test_noise_has_the_requested_shape():
    assert ImageNoise(0, [4, 9], (1, 2, 5))(3).shape == (2, 1, 2, 5)
