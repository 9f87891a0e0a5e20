"""weights, step -> their moving averages, at the stated decays."""

import pytest
import torch
from torch import nn

from adm.training.ema import EMA, averages


def constant(value: float) -> nn.Linear:
    network = nn.Linear(2, 2, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_the_share_of_the_start_is_the_product_of_the_decays() -> None:
    network = constant(1.0)
    average = EMA(network, 0.5)
    nn.init.zeros_(network.weight)
    expected = 1.0
    for step in range(30):
        average.update(network, step)
        expected *= min(0.5, (1 + step) / (10 + step))
        actual = average.weights["weight"]
        torch.testing.assert_close(actual, torch.full_like(actual, expected), rtol=1e-5, atol=0)


def test_every_step_is_one_interpolation_of_each_element_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    network = nn.ModuleList([nn.Linear(3, 5), nn.Linear(257, 129), nn.LayerNorm(64)])
    average = EMA(network, 0.99)
    expected = {name: p.detach().clone() for name, p in network.named_parameters()}
    for step in range(1000, 1020):
        for name, parameter in network.named_parameters():
            parameter.data.normal_(generator=generator)
            expected[name].lerp_(parameter.detach(), 1 - 0.99)
        average.update(network, step)
    assert all(torch.equal(average.weights[name], value) for name, value in expected.items())


def test_it_is_float32_whatever_the_weights_are() -> None:
    network = constant(1.0).to(torch.bfloat16)
    average = EMA(network, 0.5)
    nn.init.zeros_(network.weight)
    average.update(network, 0)
    assert average.weights["weight"].dtype == torch.float32
    # bfloat16 would hold 0.1001: its steps there are 0.0005 wide.
    assert abs(average.weights["weight"][0, 0].item() - 0.1) < 1e-6


def test_a_run_keeps_the_model_s_average_first_and_all_by_name() -> None:
    emas = averages(constant(1.0), 0.9999, (0.999, 0.9))
    names = [average.name for average in emas]
    assert names == ["ema-0.9999", "ema-0.999", "ema-0.9"]
    assert emas[0].decay == 0.9999
    storages = {average.weights["weight"].data_ptr() for average in emas}
    assert len(storages) == len(emas)


def test_a_duplicate_average_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two averages have the decay 0\.9; leave one"):
        averages(constant(1.0), 0.9, (0.9,))
