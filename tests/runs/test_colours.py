"""samples, data -> moments of every channel; a tint is reported and chance is not."""

from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

from adm.data import Source
from adm.runs.watch.drift import moments, reference, warning_of


def photographs(count: int, seed: int, channels: int = 3) -> Tensor:
    """(N, C, 8, 8) uint8 that differ in brightness, as photographs do."""
    generator = torch.Generator().manual_seed(seed)
    bright = 128 + 30 * torch.randn(count, channels, 1, 1, generator=generator)
    grain = 25 * torch.randn(count, channels, 8, 8, generator=generator)
    return (bright + grain).round().clamp(0, 255).byte()


def source_of(images: Tensor, labels: Tensor | None = None) -> Source:
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
    return replace(tiny.stripes(3), labels=labels, images=lambda rows: images[rows])


def tinted(images: Tensor, by: int, channel: int = 0) -> Tensor:
    moved = images.int()
    moved[:, channel] += by
    return moved.clamp(0, 255).byte()


def test_moments_are_those_of_all_pixels() -> None:
    images = photographs(50, 0)
    actual = moments(images)
    flat = images.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(actual.mean, flat.mean(1))
    torch.testing.assert_close(actual.std, flat.std(1, correction=0))


def test_the_spread_of_one_image_predicts_that_of_many_sets() -> None:
    sets = [moments(photographs(32, seed)) for seed in range(200)]
    for value, spread in (("mean", "mean_spread"), ("std", "std_spread")):
        over_sets = torch.stack([getattr(s, value) for s in sets]).std(0)
        stated = torch.stack([getattr(s, spread) for s in sets]).mean(0) / 32**0.5
        assert ((stated / over_sets - 1).abs() < 0.25).all(), value


def test_data_are_taken_evenly_from_the_classes_of_the_samples() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10 + [2] * 20)
    images = (labels * 60 + 20).byte()[:, None, None, None].expand(-1, 1, 4, 4)
    source = source_of(images, labels)
    assert reference(source, torch.tensor([1, 0, 1]), 1000).mean.item() == pytest.approx(
        (20 + 80) / 2
    )
    assert reference(source, torch.tensor([2]), 1000).mean.item() == pytest.approx(140)
    everything = reference(source, None, 1000).mean.item()
    assert everything == pytest.approx(images[:, 0, 0, 0].double().mean().item())


def test_a_tint_is_named_and_few_samples_of_the_data_are_none() -> None:
    data = reference(source_of(photographs(1000, 0)), None, 1000)
    message = warning_of(moments(tinted(photographs(64, 1), 35, channel=2)), data)
    assert "in blue, samples have mean" in (message or "")
    quiet = [warning_of(moments(photographs(8, seed)), data) for seed in range(2, 102)]
    assert quiet == [None] * 100
    few = [reference(source_of(photographs(16, seed)), None, 16) for seed in range(2, 102)]
    samples = moments(photographs(1000, 0))
    assert sum(warning_of(samples, each) is not None for each in few) < 5  # measured: 1
    flat = (photographs(64, 1).float() * 0.5 + 64).byte()
    assert "deviation" in (warning_of(moments(flat), data) or "")
