"""baselines/r3gan.py: its loss and penalties, schedules, the start of its networks."""

import math
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch.autograd import grad
from torch.nn import functional as F

from adm.data import Source, open_source
from adm.images import to_float

sys.path.append(str(Path(__file__).parents[2] / "baselines"))
r3gan = import_module("r3gan")
CPU = torch.device("cpu")
SMALL = r3gan.Config(
    size=(8, 8), channels=16, multipliers=(1, 2), noise=8, batch_size=8, precision="float32"
)


@pytest.fixture(scope="module")
def digits() -> Source:
    return open_source("digits", size=(8, 8), channels=1)


def moved(network: torch.nn.Module) -> torch.nn.Module:
    """The network away from its start, where the residual blocks are the identity."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return network


def test_every_logit_is_compared_with_that_of_the_other_image_of_its_pair() -> None:
    real, fake = torch.tensor([1.0, 0.0]), torch.tensor([3.0, -1.0])
    critic = (math.log(1 + math.e**2) + math.log(1 + math.e**-1)) / 2
    generator = (math.log(1 + math.e**-2) + math.log(1 + math.e)) / 2
    assert r3gan.critic_loss(real, fake).item() == pytest.approx(critic)
    assert r3gan.generator_loss(real, fake).item() == pytest.approx(generator)


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (3, 4)])
def test_a_convolution_has_the_first_and_second_derivatives_of_torch(
    kernel: int, groups: int
) -> None:
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_()

    x, bias, direction = draw(2, 8, 5, 4), draw(12), draw(2, 12, 5, 4)
    weight = draw(12, 8 // groups, kernel, kernel)

    def derivatives(y: torch.Tensor) -> list[torch.Tensor]:
        inputs = (x, weight, bias)
        first = grad((y.sin() * direction).sum(), inputs, create_graph=True)
        return [*first, *grad(first[0].square().sum(), (x, weight, bias, direction))]

    own = derivatives(r3gan.Convolve.apply(x, weight, bias, groups))
    expected = derivatives(F.conv2d(x, weight, bias, padding=kernel // 2, groups=groups))
    for ours, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_penalty_is_the_squared_gradient_by_every_pixel_of_each_image() -> None:
    torch.manual_seed(0)
    critic = moved(r3gan.Discriminator(SMALL)).double()
    critic.config = replace(SMALL, precision="float64")
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64).requires_grad_()
    labels, step = torch.tensor([1, 7]), 1e-6
    penalty = r3gan.squared_gradient(critic(images, labels), images)
    slopes = torch.zeros(2, 64, dtype=torch.float64)
    with torch.no_grad():
        for pixel in range(64):
            change = torch.zeros_like(images)
            change.flatten(1)[:, pixel] = step
            ends = [critic(images + sign * change, labels) for sign in (1, -1)]
            slopes[:, pixel] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(penalty, slopes.square().sum(1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("micro_batch", [3, 8])
def test_a_step_of_the_critic_descends_the_loss_with_both_penalties(
    micro_batch: int, digits: Source
) -> None:
    """Its accumulated gradient is that of the whole batch, by autograd and by hand."""
    game = r3gan.R3GAN(replace(SMALL, micro_batch=micro_batch), CPU)
    moved(game.critic)
    images, label = digits.batch(list(range(8)))
    real = to_float(images)
    factor, noise = 0.7, []

    class Recorded:
        def standard_normal(self, shape: tuple[int, int], dtype: type) -> object:
            noise.append(torch.randn(shape, generator=torch.Generator().manual_seed(len(noise))))
            return noise[-1].numpy()

    game.change = lambda images, random: images
    before = {name: p.detach().clone() for name, p in game.critic.named_parameters()}
    game.step_of("critic", real, label, Recorded(), factor)
    taken = {name: p.grad for name, p in game.critic.named_parameters()}
    game.critic.load_state_dict(before)
    made = game.generator(torch.cat(noise), label).detach().requires_grad_()
    images = real.clone().requires_grad_()
    game.critic.requires_grad_(True)
    of_real, of_made = game.critic(images, label), game.critic(made, label)
    penalties = sum(
        grad(logits.sum(), inputs, create_graph=True)[0].square().sum()
        for logits, inputs in ((of_real, images), (of_made, made))
    )
    expected = F.softplus(of_made - of_real).mean() + factor * penalties / 8
    for (name, _), derivative in zip(
        game.critic.named_parameters(),
        grad(expected, list(game.critic.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(taken[name], derivative, rtol=1e-4, atol=1e-6, msg=name)
        assert derivative.abs().sum() > 0


def test_schedules_go_by_half_a_cosine_to_the_end_of_the_burn_in_and_stay() -> None:
    config = r3gan.Config(burn_in=1000)
    values = [config.at((0.9, 0.1), pairs) for pairs in (0, 250, 500, 1000, 10**9)]
    assert values == pytest.approx([0.9, 0.1 + 0.4 * (1 + 0.5**0.5), 0.5, 0.1, 0.1])


def test_networks_start_as_their_skip_connections() -> None:
    """Fix-up initialisation (Zhang et al. 2019): each residual block is the identity."""
    torch.manual_seed(0)
    block = r3gan.Block(16, SMALL, count=4)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(x), x)
    generator = r3gan.Generator(replace(SMALL, channels=64))
    images = generator(torch.randn(64, 8), torch.arange(64) % 10)
    assert 0.3 < images.std() < 2


def test_the_discriminator_sees_the_label() -> None:
    torch.manual_seed(0)
    critic = moved(r3gan.Discriminator(SMALL))
    images = torch.randn(1, 1, 8, 8).expand(10, -1, -1, -1)
    assert len({round(logit, 5) for logit in critic(images, torch.arange(10)).tolist()}) == 10


def test_a_penalty_at_a_share_of_the_steps_counts_as_much_more(digits: Source) -> None:
    game = r3gan.R3GAN(replace(SMALL, penalty=(0.5, 0.5), penalty_every=4), CPU)
    factors = []
    real_step = game.step_of
    game.step_of = lambda *given: factors.append(given[4:]) or real_step(*given)
    for _ in range(5):
        game.learn(digits)
    assert [each[0] for each in factors if each] == [1.0, 0.0, 0.0, 0.0, 1.0]
