"""weights, step -> their moving averages, at the stated decays."""

import math

import pytest
import torch
from torch import nn

from adm.training.ema import EMA, WIDEST, Exponential, Power, averages


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


@pytest.mark.parametrize("width", [0.001, 0.1, 0.28])
def test_the_width_is_the_deviation_of_the_profile(width: float) -> None:
    gamma = Power(width).gamma
    count = 200_000
    tau = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    profile = (gamma + 1) * tau**gamma / count  # midpoint rule on [0, 1]
    mean = (profile * tau).sum()
    deviation = (profile * (tau - mean) ** 2).sum().sqrt().item()
    assert profile.sum().item() == pytest.approx(1, rel=1e-4)
    assert deviation == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize("width", [0.05, 0.2])
def test_each_step_counts_by_its_part_of_the_power_function(width: float) -> None:
    steps, gamma = 40, Power(width).gamma
    network = nn.Linear(steps, 1, bias=False)
    nn.init.constant_(network.weight, 100.0)  # the start counts nothing
    average = EMA(network, Power(width))
    for step in range(steps):  # the weights of each step have their own direction
        nn.init.zeros_(network.weight)
        network.weight.data[0, step] = 1
        average.update(network, step)
    ends = torch.arange(steps + 1, dtype=torch.float64) / steps
    expected = (ends ** (gamma + 1)).diff().float()
    torch.testing.assert_close(average.weights["weight"][0], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("width", [0.0, WIDEST, math.nan])
def test_a_width_out_of_range_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 0\.289\)"):
        Power(width)


def test_a_run_keeps_the_model_s_average_first_and_all_by_name() -> None:
    emas = averages(constant(1.0), 0.9999, (0.999, 0.9), (0.05, 0.1))
    names = [average.name for average in emas]
    assert names == ["ema-0.9999", "ema-0.999", "ema-0.9", "width-0.05", "width-0.1"]
    assert emas[0].decay == Exponential(0.9999)
    storages = {average.weights["weight"].data_ptr() for average in emas}
    assert len(storages) == len(emas)


def test_a_duplicate_average_is_refused() -> None:
    with pytest.raises(ValueError, match=r"leave one ema-0\.9 out"):
        averages(constant(1.0), 0.9, (0.9,))
