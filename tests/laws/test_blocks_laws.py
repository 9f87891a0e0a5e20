"""x, embedding -> the residual block's sum: its variance, its start, its use of the embedding."""

import pytest
import torch
from torch import nn

from adm.networks.blocks import BlockStyle, ResidualBlock, sinusoidal


def style(**changes):
    base = {"embedding_width": 16, "adaptive_norm": True, "rescale_residual": False}
    return BlockStyle(**{**base, "dropout": 0.0, "norm_groups": 4, **changes})


def block_of(**changes):
    """A block whose branch, like its input, has variance 1."""
    torch.manual_seed(0)
    block = ResidualBlock(64, 64, style(**changes))
    nn.init.normal_(block.conv_out.weight)
    with torch.no_grad():
        x, embedding = torch.randn(4, 64, 16, 16), torch.randn(4, 16)
        branch = block(x, embedding) * (2**0.5 if block.style.rescale_residual else 1) - x
        block.conv_out.weight.div_(branch.std())
    return block, x, embedding


@torch.no_grad()
def test_rescaled_residuals_keep_the_variance_and_plain_ones_add_to_it():
    variances = {}
    for rescale in (True, False):
        block, x, embedding = block_of(rescale_residual=rescale)
        for _ in range(4):
            x = block(x, embedding)
            x = x[:, torch.randperm(64)]  # so that branch and skip stay unrelated
        variances[rescale] = x.var().item()
    assert variances[True] == pytest.approx(1, abs=0.15)
    assert variances[False] == pytest.approx(5, abs=0.75)


@torch.no_grad()
def test_a_new_block_is_the_identity_times_its_rescaling():
    torch.manual_seed(0)
    x, embedding = torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    torch.testing.assert_close(ResidualBlock(8, 8, style())(x, embedding), x)
    rescaled = ResidualBlock(8, 8, style(rescale_residual=True))
    torch.testing.assert_close(rescaled(x, embedding), x / 2**0.5)


@torch.no_grad()
def test_groups_of_one_channel_cancel_an_added_embedding_but_not_adagn():
    torch.manual_seed(0)
    x, embeddings = torch.randn(2, 8, 4, 4), torch.randn(2, 2, 16)
    for adaptive in (True, False):
        block = ResidualBlock(8, 8, style(adaptive_norm=adaptive, norm_groups=8))
        nn.init.normal_(block.conv_out.weight)
        first, second = (block(x, embedding) for embedding in embeddings)
        assert torch.allclose(first, second, atol=1e-5) != adaptive


@pytest.mark.parametrize("width", [8, 9])
def test_a_timestep_is_embedded_in_cosines_and_then_sines_of_falling_frequency(width):
    """From one radian a timestep downwards, in equal ratios towards 1/10,000."""
    steps = torch.tensor([0.0, 1.0, 2.5, 999.0]).double()
    cosines, sines, rest = sinusoidal(steps, width).double().split([4, 4, width - 8], dim=1)
    angles = steps[:, None] * 10_000.0 ** (-torch.arange(4).double() / 4)
    torch.testing.assert_close(cosines, angles.cos(), rtol=0, atol=1e-4)
    torch.testing.assert_close(sines, angles.sin(), rtol=0, atol=1e-4)
    assert rest.abs().sum() == 0
