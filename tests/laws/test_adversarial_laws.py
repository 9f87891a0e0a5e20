"""keys, images, two networks -> noise, changes, losses: laws of adversarial training."""

import copy
import itertools
import math

import pytest
import tiny
import torch
from scipy import stats
from torch import nn

from adm.adversarial import (
    CRITIC,
    GENERATOR,
    discriminator_objective,
    generator_objective,
    truncated,
)
from adm.adversarial.augment import UNIFORMS, augmented
from adm.adversarial.latent import normal, uniform
from adm.images import to_float
from adm.networks.biggan import advance, orthogonality
from adm.recipes import build
from adm.training.batches import Augmentation, Batch, batch_at
from adm.training.objective import Objective
from adm.training.players import LossScale, Player, RunState
from adm.training.update import Update

KEYS = torch.tensor([5, -3, 2**62])
CPU = torch.device("cpu")


@pytest.mark.parametrize("limit", [None, 2.0, 0.5, 0.04])
def test_truncated_noise_has_the_normal_distribution_given_its_range(limit) -> None:
    noise = truncated(7, range(300), 64, limit)
    assert noise.dtype == torch.float32
    end = math.inf if limit is None else limit
    assert noise.abs().max() <= end
    fit = stats.kstest(noise.flatten().double().numpy(), stats.truncnorm(-end, end).cdf)
    assert fit.pvalue > 0.01


def test_an_image_s_noise_depends_on_its_index_and_changes_continuously_with_the_limit() -> None:
    assert torch.equal(truncated(1, [4, 9], 8, 1.0)[1], truncated(1, [9], 8, 1.0)[0])
    assert not torch.equal(truncated(1, [9], 8, 1.0), truncated(2, [9], 8, 1.0))
    near, far = truncated(1, [9], 64, 1.01), truncated(1, [9], 64, 1.0)
    assert (near - far).abs().max() < 0.02
    torch.testing.assert_close(truncated(1, [9], 64, 100.0), truncated(1, [9], 64, None))


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf, 101.0])
def test_a_limit_out_of_range_is_refused(limit) -> None:
    with pytest.raises(ValueError, match="truncation must be above 0 and at most 100"):
        truncated(0, [0], 4, limit)


def test_draws_of_training_depend_on_key_and_use_alone() -> None:
    for draws in (normal, uniform):
        together = draws(KEYS, 0, 16)
        assert torch.equal(draws(KEYS[1:2], 0, 16), together[1:2])
        assert not torch.equal(draws(KEYS, 1, 16), together)
    spread = normal(torch.arange(200), 3, 64).flatten().numpy()
    assert stats.kstest(spread, stats.norm.cdf).pvalue > 0.01


def pictures(channels: int = 3) -> torch.Tensor:
    return torch.rand(64, channels, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def chances(seed: int = 0, **columns: float) -> torch.Tensor:
    uniforms = torch.rand(64, UNIFORMS, generator=torch.Generator().manual_seed(seed))
    for column, value in columns.items():
        uniforms[:, int(column[1:])] = value
    return uniforms


def test_no_augmentation_changes_nothing() -> None:
    assert torch.equal(augmented(pictures(), chances(), ()), pictures())


def test_colours_in_the_middle_of_their_range_change_nothing() -> None:
    same = augmented(pictures(), chances(c0=0.5, c1=0.5, c2=0.5), ("colour",))
    torch.testing.assert_close(same, pictures(), rtol=0, atol=1e-6)


def test_colours_change_by_brightness_saturation_and_contrast() -> None:
    x = pictures()
    lighter = augmented(x, chances(c0=0.75, c1=0.5, c2=0.5), ("colour",))
    torch.testing.assert_close(lighter, x + 0.25, rtol=0, atol=1e-6)
    grey = augmented(x, chances(c0=0.5, c1=0.0, c2=0.5), ("colour",))
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x), rtol=0, atol=1e-6)
    flat = augmented(x, chances(c0=0.5, c1=0.5, c2=0.0), ("colour",))
    level = x.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(flat, level + (x - level) / 2, rtol=0, atol=1e-6)


def test_translation_shifts_by_up_to_an_eighth_and_fills_with_0() -> None:
    height, width = 16, 24
    x, shifted = pictures(), augmented(pictures(), chances(), ("translation",))
    around = nn.functional.pad(x, (3, 3, 2, 2))
    shifts = {
        (down, right)
        for down, right in itertools.product(range(-2, 3), range(-3, 4))
        for before, after in zip(around, shifted, strict=True)
        if torch.equal(before[:, 2 - down :, 3 - right :][:, :height, :width], after)
    }
    assert len(shifts) > 20
    assert {down for down, _ in shifts} == set(range(-2, 3))
    assert {right for _, right in shifts} == set(range(-3, 4))


def test_cutout_sets_one_rectangle_of_half_the_sides_to_0() -> None:
    x, changed = pictures(), augmented(pictures(), chances(), ("cutout",))
    inside = augmented(x, chances(c5=0.5, c6=0.5), ("cutout",))
    assert (inside == 0).all(1).flatten(1).sum(1).tolist() == [8 * 12] * 64
    for before, after in zip(x, changed, strict=True):
        cut = (after == 0).all(0)
        rows, columns = cut.any(1).sum().item(), cut.any(0).sum().item()
        assert cut.sum().item() == rows * columns <= 8 * 12
        assert torch.equal(after[:, ~cut], before[:, ~cut])
        assert rows >= 4
        assert columns >= 6


def test_gradients_pass_through_every_augmentation() -> None:
    x = pictures().requires_grad_()
    augmented(x, chances(), ("colour", "translation", "cutout")).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


class FixedLogits(nn.Module):
    """A discriminator that returns fixed logits for real and generated images."""

    def __init__(self, config, logits) -> None:
        super().__init__()
        self.config, self.logits = config, logits

    def forward(self, images, label):
        assert len(images) == len(label) == len(self.logits)
        return self.logits


def parts():
    recipe = tiny.gan("train.precision=float32", "adversarial.augmentation=[]")
    networks = build.networks(recipe)
    batch = batch_at(tiny.stripes(), 0, 0, 4, Augmentation())
    autocast = build.autocast_for("float32", CPU)
    return recipe, networks, batch, autocast


def test_the_hinge_losses_are_those_of_the_paper() -> None:
    recipe, networks, batch, autocast = parts()
    real, false = torch.tensor([2.0, 0.5, -1.0, 1.0]), torch.tensor([-2.0, 0.5, 1.0, -1.0])
    generator = networks[GENERATOR].train()
    critic = FixedLogits(recipe.gan, torch.cat([real, false]))
    critic_outcome = discriminator_objective(generator, (), autocast)(critic, batch)
    assert critic_outcome.loss.tolist() == [0.0, 0.5 + 1.5, 2.0 + 2.0, 0.0]
    assert critic_outcome.shown["real"].tolist() == real.tolist()
    assert critic_outcome.shown["generated"].tolist() == false.tolist()
    generator_outcome = generator_objective(FixedLogits(recipe.gan, false), (), autocast)(
        generator, batch
    )
    assert generator_outcome.loss.tolist() == (-false).tolist()


def test_the_regularisation_is_added_to_the_loss_and_not_to_what_is_shown() -> None:
    recipe, networks, batch, autocast = parts()
    generator = networks[GENERATOR].train()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1)
    measured = orthogonality(generator)
    critic = FixedLogits(recipe.gan, torch.zeros(4))
    outcome = generator_objective(critic, (), autocast, lambda: 0.5 * measured())(generator, batch)
    torch.testing.assert_close(outcome.loss, (0.5 * measured()).expand(4))
    assert measured() > 0.01
    assert outcome.shown["loss"].tolist() == [0.0] * 4


def test_each_player_learns_from_its_own_loss_alone() -> None:
    _, networks, batch, autocast = parts()
    generator, critic = networks[GENERATOR].train(), networks[CRITIC].train()
    discriminator_objective(generator, (), autocast)(critic, batch).loss.sum().backward()
    assert all(p.grad is None for p in generator.parameters())
    assert all(p.grad is not None for p in critic.parameters())


def test_a_turn_takes_every_row_once_and_improves_every_estimate_once_a_step() -> None:
    recipe, networks, batch, _ = parts()
    players = {
        name: Player(network, (), torch.optim.SGD(network.parameters()), LossScale(), network)
        for name, network in networks.items()
    }
    before = {name: copy.deepcopy(network) for name, network in networks.items()}
    calls: list[tuple[nn.Module, list[int], int, bool]] = []

    def learn(player: Player, objective: Objective, batch: Batch, *, parts: int = 1) -> Update:
        learns = all(p.requires_grad for p in networks[CRITIC].parameters())
        calls.append((player.network, batch.labels.tolist(), parts, learns))
        return Update(torch.empty(0), {}, 0.0, None)

    state = RunState(players)
    updates = build.turn(recipe, state, CPU)(state, batch, learn)
    assert list(updates) == [GENERATOR, CRITIC]
    labels, critic = batch.labels, networks[CRITIC]
    assert calls == [
        (critic, labels[0::2].tolist(), 2, True),
        (critic, labels[1::2].tolist(), 2, True),
        (networks[GENERATOR], labels[1::2].tolist(), 2, False),
    ]
    for name, steps in ((CRITIC, 2), (GENERATOR, 1)):
        for _ in range(steps):
            advance(before[name])
        for key, value in networks[name].state_dict().items():
            assert torch.equal(value, before[name].state_dict()[key]), key


class Recorder(nn.Module):
    """A network that records its inputs, and answers all of them by one function."""

    def __init__(self, config, answer) -> None:
        super().__init__()
        self.config, self.answer, self.inputs = config, answer, []

    def forward(self, x, label):
        self.inputs.append(x)
        return self.answer(x)


def test_every_player_has_noise_and_augmentations_of_its_own() -> None:
    """The same images, as real and as generated ones, are augmented differently."""
    recipe, _, batch, autocast = parts()
    generator = Recorder(recipe.gan, lambda noise: to_float(batch.images))
    critic = Recorder(recipe.gan, lambda images: images.flatten(1).sum(1))
    discriminator_objective(generator, ("translation", "cutout"), autocast)(critic, batch)
    generator_objective(critic, ("translation", "cutout"), autocast)(generator, batch)
    of_critic, of_generator = generator.inputs
    assert not torch.isclose(of_critic, of_generator).any()
    real, generated = critic.inputs[0].chunk(2)
    for one, other in ((real, generated), (generated, critic.inputs[1]), (real, critic.inputs[1])):
        assert not torch.equal(one, other)
