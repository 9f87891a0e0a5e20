"""network -> prepared copy: the same function and the same gradient, for every configuration."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from nets import CONFIG, JUDGE, error, filled
from torch import nn

from adm.networks import (
    NO_LABEL,
    Classifier,
    HeadCount,
    UNet,
    UNetConfig,
    prepared,
)
from adm.networks.moments import ChannelMoments
from adm.networks.prepared_layers import UpConv

AXES: dict[str, dict[str, Any]] = {
    "as the paper": {},
    "one channel": {"in_channels": 1, "out_channels": 1},
    "without AdaGN": {"adaptive_norm": False},
    "plain resampling": {"resampling": "plain"},
    "convolutions resample": {"resampling": "convolution"},
    "rescaled": {"rescale_residual": True},
    "rescaled, without AdaGN": {"rescale_residual": True, "adaptive_norm": False},
    "a number of heads": {"heads": HeadCount(4)},
    "other heads in the decoder": {"decoder_heads": HeadCount(2)},
    "super-resolution": {"super_resolution": True},
    "unconditional": {"classes": None},
    "dropout": {"dropout": 0.5},
    "deep": {"multipliers": (1, 2, 3), "depth": 2, "attention_factors": (1, 4)},
}


def inputs(config: UNetConfig) -> tuple[Any, ...]:
    torch.manual_seed(1)
    label = None if config.classes is None else torch.tensor([0, 2, NO_LABEL])
    low = torch.rand(3, config.in_channels, 4, 6) if config.super_resolution else None
    return torch.randn(3, config.in_channels, 8, 12), torch.tensor([3.0, 500.0, 0.5]), label, low


@pytest.mark.parametrize("axis", AXES)
def test_a_prepared_unet_is_the_same_function_with_the_same_gradient(axis: str) -> None:
    config = replace(CONFIG, **AXES[axis])
    network, (x, *others) = filled(UNet(config)), inputs(config)
    outcomes = []
    for each in (network, prepared(network), network):  # preparing changes nothing
        leaf = x.clone().requires_grad_()
        out = each(leaf, *others)
        outcomes.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaf)))
    expected, actual, again = outcomes
    assert actual[0].dtype == torch.float32
    assert actual[0].is_contiguous()
    assert error(actual[0], expected[0]) < 3e-6
    assert error(actual[1], expected[1]) < 1e-5
    assert torch.equal(again[0], expected[0])


@pytest.mark.parametrize("pool", ["attention", "adaptive", "spatial", "spatial_v2"])
@pytest.mark.parametrize("axis", ["as the paper", "without AdaGN", "convolutions resample"])
def test_a_prepared_classifier_is_too(axis: str, pool: str) -> None:
    network = filled(Classifier(replace(JUDGE, pool=pool, **AXES[axis])))
    x, timestep = torch.randn(3, 3, 8, 12), torch.tensor([3.0, 500.0, 0.5])
    outcomes = []
    for each in (network, prepared(network)):
        leaf = x.clone().requires_grad_()
        log_p = each(leaf, timestep).log_softmax(1)
        outcomes.append((log_p.detach(), torch.autograd.grad(log_p[:, 1].sum(), leaf)[0]))
    for actual, expected in zip(outcomes[1], outcomes[0], strict=True):
        assert error(actual, expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_stays_near(dtype: torch.dtype) -> None:
    network, arguments = filled(UNet(CONFIG)), inputs(CONFIG)
    actual = prepared(network, dtype)(*arguments)
    assert actual.dtype == torch.float32
    assert 0 < error(actual, network(*arguments)) < 0.02


def test_one_level_for_all_images_is_the_level_of_each() -> None:
    network = prepared(filled(UNet(CONFIG)))
    x, _, label, _ = inputs(CONFIG)
    level = torch.tensor([40.0])
    assert torch.equal(network(x, level.expand(3), label), network(x, level.repeat(3), label))


def test_no_gradient_of_a_weight_is_computed() -> None:
    network = prepared(filled(Classifier(JUDGE)))
    x = torch.randn(2, 3, 8, 12, requires_grad=True)
    network(x, torch.tensor([1.0, 2.0])).sum().backward()
    assert x.grad is not None
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


def test_a_prepared_network_refuses_what_the_network_refuses() -> None:
    for network in (filled(UNet(CONFIG)), prepared(filled(UNet(CONFIG)))):
        with pytest.raises(ValueError, match="takes no low-resolution image"):
            network(torch.zeros(1, 3, 8, 8), torch.zeros(1), None, torch.zeros(1, 3, 4, 4))
        with pytest.raises(ValueError, match="divisible by 2"):
            network(torch.zeros(1, 3, 7, 8), torch.zeros(1))


def test_an_upsampled_convolution_is_one_transposed_convolution() -> None:
    conv = filled(nn.Conv2d(3, 5, 3, padding=1))
    x = torch.randn(2, 3, 4, 6)
    expected = conv(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(UpConv(conv, torch.float32)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_moments_do_not_cancel_where_the_mean_is_many_deviations(mean: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 7) + mean
    moments, (variance, average) = (
        ChannelMoments.of(x),
        torch.var_mean(x.double(), (2, 3), correction=0),
    )
    torch.testing.assert_close(moments.mean.double(), average, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(moments.variance.double(), variance, rtol=1e-4, atol=1e-6)
