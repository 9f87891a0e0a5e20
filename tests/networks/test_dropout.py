"""features, keys -> a mask that is a function of the image, the layer and the element alone."""

import itertools

import pytest
import torch
from torch import nn

from adm.networks import Dropout, key_dropout

EXPECTED = ["100000000010101001101101", "001010011000111111010001"]
KEYS = torch.tensor([0, 1, 2, 3, 2**32, 2**40 + 7, -5, 2**62])
SHAPE = (16, 12, 20)


def layers(p: float = 0.25, count: int = 3) -> nn.Sequential:
    return nn.Sequential(*(Dropout(p) for _ in range(count))).train()


def masks(network: nn.Sequential, keys: torch.Tensor) -> list[torch.Tensor]:
    """The output of each layer by itself for ones."""
    key_dropout(network, keys)
    return [layer(torch.ones(len(keys), *SHAPE)) for layer in network]


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_a_share_p_is_dropped_and_the_mean_stays(p):
    count = 64
    key_dropout(network := layers(p, 1), torch.arange(count))
    y = network(torch.ones(count, *SHAPE))
    elements = y.numel()
    share = (y == 0).double().mean().item()
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / elements) ** 0.5)
    nonzero = y[y > 0]
    assert nonzero.min() == nonzero.max() == pytest.approx(1 / (1 - p), rel=1e-4)


def test_layers_images_keys_and_neighbours_are_unrelated():
    """Correlations are those of chance: none of many is further from 0 than 5 deviations."""
    outputs = torch.stack(masks(layers(), KEYS)).double()  # (layers, B, C, H, W)
    rows = outputs.flatten(2).flatten(0, 1)
    rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True)
    elements = rows.shape[1]
    pairs = (rows @ rows.T / elements).fill_diagonal_(0)
    assert pairs.abs().max() < 5 / elements**0.5
    for shift in (1, 2, 16, 32, 320):  # halves of a word, channels, rows
        shifted = (rows * rows.roll(shift, 1)).mean(1)
        assert shifted.abs().max() < 5 / elements**0.5


def test_positions_are_dropped_alike_over_many_images():
    key_dropout(network := layers(0.5, 1), torch.arange(2000))
    share = (network(torch.ones(2000, 8, 4, 4)) > 0).double().mean(0)
    assert (share - 0.5).abs().max() < 5 * (0.25 / 2000) ** 0.5


def test_an_image_is_dropped_alike_alone_and_in_any_batch():
    network, x = layers(), torch.randn(len(KEYS), *SHAPE)
    key_dropout(network, KEYS)
    together = network(x)
    for rows in ([3], [5, 0], [7, 6, 2]):
        key_dropout(network, KEYS[rows])
        assert torch.equal(network(x[rows]), together[rows])


def test_another_layout_or_precision_drops_the_same():
    network, x = layers(), torch.randn(len(KEYS), *SHAPE)
    key_dropout(network, KEYS)
    y = network(x)
    last = network(x.to(memory_format=torch.channels_last))
    assert torch.equal(y, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    half = network(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half == 0, y == 0)


@pytest.mark.parametrize("shape", [(3, 5, 7), (5,), (1,), (6, 3)])
def test_features_of_any_shape_and_count(shape):
    key_dropout(network := layers(0.5, 1), KEYS)
    y = network(torch.ones(len(KEYS), *shape))
    assert y.shape == (len(KEYS), *shape)
    assert set(y.unique().tolist()) <= {0.0, 2.0}


def test_gradients_pass_where_values_pass():
    x = torch.randn(len(KEYS), *SHAPE, requires_grad=True)
    key_dropout(network := layers(0.25, 1), KEYS)
    network(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, masks(network, KEYS)[0])


def test_without_keys_torch_draws_and_in_evaluation_nothing_is_dropped():
    network, x = layers(), torch.ones(2, *SHAPE)
    key_dropout(network, KEYS[:2])
    key_dropout(network, None)
    torch.manual_seed(0)
    first = network(x)
    torch.manual_seed(0)
    assert torch.equal(network(x), first)
    assert not torch.equal(network(x), first)
    key_dropout(network, KEYS[:2])
    assert torch.equal(network.eval()(x), x)
    assert torch.equal(layers(0.0)(x), x)


def test_masks_do_not_change():
    """A run resumed under another version must drop the same elements."""
    key_dropout(network := layers(0.5, 2), torch.tensor([0, 123456789123456789]))
    dropped = (network[1](torch.ones(2, 3, 2, 4)) == 0).flatten(1).int().tolist()
    assert ["".join(map(str, row)) for row in dropped] == EXPECTED


def test_invalid_arguments_name_the_cure():
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
        Dropout(1)
    key_dropout(network := layers(), KEYS)
    with pytest.raises(ValueError, match="8 keys for 2 images"):
        network(torch.ones(2, *SHAPE))


def test_every_layer_of_a_network_is_numbered():
    network = layers(count=4)
    key_dropout(network, KEYS)
    for one, other in itertools.combinations(masks(network, KEYS), 2):
        assert not torch.equal(one, other)
