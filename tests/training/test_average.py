"""weights, step -> their moving average: it moves, at the decay that is stated."""

import torch
from torch import nn

from adm.training.ema import EMA


def constant(value: float) -> nn.Linear:
    network = nn.Linear(2, 2, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_it_starts_at_the_weights_and_is_a_copy() -> None:
    network = constant(3.0)
    average = EMA(network, 0.9)
    nn.init.zeros_(network.weight)
    assert average.weights["weight"].unique().item() == 3.0


def test_what_is_left_of_the_start_is_the_product_of_the_decays() -> None:
    network = constant(1.0)
    average = EMA(network, 0.5)
    nn.init.zeros_(network.weight)
    left = 1.0
    for step in range(30):
        average.update(network, step)
        left *= min(0.5, (1 + step) / (10 + step))
        found = average.weights["weight"]
        torch.testing.assert_close(found, torch.full_like(found, left), rtol=1e-5, atol=0)


def test_the_first_steps_leave_little_of_a_random_start() -> None:
    network = constant(1.0)
    average = EMA(network, 0.9999)
    nn.init.zeros_(network.weight)
    for step in range(100):
        average.update(network, step)
    # 0.9999 from the first step would leave 99% of it. The product telescopes:
    # (1 x 2 x ... x 100) / (10 x 11 x ... x 109) = 9! / (101 x ... x 109).
    left = torch.arange(1.0, 10.0).prod() / torch.arange(101.0, 110.0).double().prod()
    torch.testing.assert_close(average.weights["weight"][0, 0].double(), left, rtol=1e-3, atol=0)


def test_weights_that_stand_still_are_their_own_average() -> None:
    network = constant(0.7)
    average = EMA(network, 0.999)
    for step in range(5):
        average.update(network, step)
    torch.testing.assert_close(average.weights["weight"], network.weight.detach())


def test_it_is_float32_whatever_the_weights_are() -> None:
    network = constant(1.0).to(torch.bfloat16)
    average = EMA(network, 0.5)
    nn.init.zeros_(network.weight)
    average.update(network, 0)
    assert average.weights["weight"].dtype == torch.float32
    # bfloat16 would hold 0.1001: its steps there are 0.0005 wide.
    assert abs(average.weights["weight"][0, 0].item() - 0.1) < 1e-6


def test_loading_replaces_the_values_in_place() -> None:
    average = EMA(constant(1.0), 0.5)
    held = average.weights["weight"]
    average.load({"weight": torch.full((2, 2), 4.0)})
    assert held.unique().item() == 4.0
