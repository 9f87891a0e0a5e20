"""recipe -> losses, optimizer and inputs of training."""

from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor, nn

from adm.diffusion import denoiser
from adm.diffusion.likelihood import bits_per_dimension
from adm.diffusion.process import diffuse
from adm.images import to_float, to_uint8
from adm.losses import Example, Losses
from adm.processes import Devices
from adm.recipes import DiffusionRecipe, build
from adm.recipes.resolve import Facts, resolve
from adm.recipes.schema import override
from adm.spec import SettingError
from adm.training.batches import Augmentation, batch_at

CPU = Devices(torch.device("cpu"))
IMAGES = to_float(torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)))


def noise(level: int) -> Tensor:
    return torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(level)).double()


def output(x_t: Tensor, timestep: Tensor) -> Tensor:
    """A network with large errors in its noise and in its variance."""
    return torch.cat([0.5 * x_t + 0.1, 0.3 - 0.4 * x_t], dim=1)


def losses_by_level(recipe: DiffusionRecipe) -> list[Losses]:
    """The losses of the recipe at levels 1 to T, each of all images."""
    schedule, model = build.schedule(recipe.process), build.parameterization(recipe.process)
    losses = []
    for level in range(1, schedule.last + 1):
        levels = torch.full((len(IMAGES),), level)
        example = Example.of(schedule, IMAGES.double(), noise(level), levels)
        raw = output(example.x_t, schedule.timestep(levels, example.x_t))
        losses.append(build.loss(recipe)(model, schedule, raw, example))
    return losses


def bound_without_prior(recipe: DiffusionRecipe) -> Tensor:
    """(B,) the terms of all levels in bits per dimension, as evaluated rather than as trained."""
    schedule, model = build.schedule(recipe.process), build.parameterization(recipe.process)
    denoise = denoiser(output, schedule, model, threshold=None)
    bits = bits_per_dimension(denoise, schedule, IMAGES.double(), noise)
    return bits.total - bits.prior


@pytest.mark.parametrize("steps", [20, 50])
def test_the_mean_of_l_vlb_over_uniform_levels_is_the_bound(steps: int) -> None:
    """So that a loss is comparable between processes of any length (Improved DDPM, section 3)."""
    recipe = tiny.diffusion("loss=vlb", f"process.steps={steps}")
    mean = torch.stack([each.loss for each in losses_by_level(recipe)]).mean(dim=0)
    torch.testing.assert_close(mean, bound_without_prior(recipe))


@pytest.mark.parametrize("steps", [20, 50])
def test_l_hybrid_adds_a_thousandth_of_the_bound_to_l_simple(steps: int) -> None:
    """Lambda = 0.001 for any length of the process (Improved DDPM, equation 16)."""
    recipe = tiny.diffusion("loss=hybrid", f"process.steps={steps}")
    plain = replace(recipe, loss="simple")
    both = zip(losses_by_level(recipe), losses_by_level(plain), strict=True)
    added = torch.stack([hybrid.loss - simple.loss for hybrid, simple in both]).mean(dim=0)
    torch.testing.assert_close(added, 0.001 * bound_without_prior(recipe))


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.2])
def test_a_weight_without_a_gradient_shrinks_by_rate_times_decay_each_step(decay: float) -> None:
    """Decoupled weight decay (Loshchilov & Hutter 2019), on biases and norms as on all others."""
    recipe = tiny.classifier(f"train.weight_decay={decay}", "train.learning_rate=0.5")
    learner = build.learner(recipe, build.network(recipe), CPU)
    before = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    for _ in range(3):
        for parameter in learner.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        learner.optimizer.step()
    for name, parameter in learner.network.named_parameters():
        expected = before[name] * (1 - 0.5 * decay) ** 3
        torch.testing.assert_close(parameter.detach(), expected, msg=name)


def low_res(rounded: bool) -> Tensor:
    downsample = build.low_res_of(tiny.upsampler(f"data.low_res_rounded={str(rounded).lower()}"))
    return downsample(IMAGES)


def test_low_resolution_images_are_means_of_the_pixels_that_they_cover() -> None:
    means = low_res(rounded=False)
    assert means.shape == (3, 1, 4, 4)
    torch.testing.assert_close(means[0, 0, 1, 2], IMAGES[0, 0, 2:4, 4:6].mean())
    torch.testing.assert_close(means.mean(dim=(2, 3)), IMAGES.mean(dim=(2, 3)))


def test_rounded_low_resolution_images_are_those_of_a_file_and_the_nearest() -> None:
    rounded, means = low_res(rounded=True), low_res(rounded=False)
    assert torch.equal(to_float(to_uint8(rounded)), rounded)
    assert not torch.equal(to_float(to_uint8(means)), means)
    assert (rounded - means).abs().max() <= 0.5001 / 127.5


class Listener(nn.Module):
    """A network that records its low-resolution images and its conditions."""

    def forward(
        self,
        x_t: Tensor,
        step: Tensor,
        label: Tensor,
        low: Tensor,
        conditions: Tensor | None = None,
    ) -> Tensor:
        self.low, self.conditions = low, conditions
        return torch.zeros(len(x_t), 2, *x_t.shape[2:])


@pytest.mark.parametrize("rounded", [True, False])
def test_an_upsampler_is_trained_on_the_images_that_its_recipe_names(rounded: bool) -> None:
    recipe = tiny.upsampler(f"data.low_res_rounded={str(rounded).lower()}")
    network, batch = Listener(), batch_at(tiny.stripes(), 0, 0, 3, Augmentation())
    (objective,) = build.objectives(recipe, CPU.device)
    objective(network, batch)
    downsample = build.low_res_of(recipe)
    assert torch.equal(network.low, downsample(to_float(batch.images)))
    assert network.conditions is None


NOISY = ("data.low_res_noise=15", "unet.conditions=low_res", "process.steps=20")


def test_an_upsampler_is_conditioned_on_the_noise_level_of_its_input() -> None:
    recipe, network, source = tiny.upsampler(*NOISY), Listener(), tiny.stripes()
    downsample, schedule = build.low_res_of(recipe), build.schedule(recipe.process)
    assert downsample is not None
    (objective,) = build.objectives(recipe, CPU.device)
    batch = batch_at(source, 5, 0, 400, Augmentation(low_res=(4, 4)))
    objective(network, batch)
    assert network.conditions is not None
    level = (network.conditions[:, 0] + 1).long()  # a timestep is level - 1
    assert set(level.tolist()) == set(range(16))
    counts = torch.bincount(level)
    assert (counts - 25).abs().max() < 4 * 5
    noise, small = batch.draws.low_noise, downsample(to_float(batch.images))
    assert noise is not None
    assert torch.equal(network.low, diffuse(schedule, small, noise, level))
    assert torch.equal(network.low[level == 0], small[level == 0])
    assert abs(noise.std() - 1) < 0.05
    main = batch.draws.noise[:, :, :4, :4]
    apart = torch.corrcoef(torch.stack([noise.flatten(), main.flatten()]))
    assert abs(apart[0, 1]) < 0.05
    part = batch_at(source, 5, 100, 7, Augmentation(low_res=(4, 4))).draws
    assert torch.equal(part.low_noise, noise[100:107])  # type: ignore[arg-type]
    plain = batch_at(source, 5, 100, 7)
    for name in ("noise", "key", "level"):
        ours, theirs = (torch.as_tensor(getattr(each, name)) for each in (part, plain.draws))
        assert torch.equal(ours, theirs)
    objective(network, plain)  # as in validation
    assert torch.equal(network.low, downsample(to_float(plain.images)))
    assert (network.conditions == -1).all()


def test_noise_on_the_input_needs_a_network_conditioned_on_it() -> None:
    recipe = tiny.upsampler(NOISY[0], NOISY[2])
    with pytest.raises(ValueError, match=r"set unet\.conditions=low_res"):
        build.check(recipe)
    chosen = resolve(recipe, Facts(channels=1))
    build.check(chosen)
    assert chosen.config == replace(recipe.config, conditions=("low_res",))
    with pytest.raises(
        SettingError, match=r"data\.low_res_noise must be at most process\.steps=20"
    ):
        build.check(tiny.upsampler("data.low_res_noise=21", *NOISY[1:]))
    with pytest.raises(SettingError, match=r"data\.low_res_noise must be 0 without data\.low_res"):
        build.check(tiny.diffusion(*NOISY))
    build.check_sampling(override(chosen, ["sample.low_res_noise=15"]))
    with pytest.raises(SettingError, match=r"sample\.low_res_noise must be at most .*=15"):
        build.check_sampling(override(chosen, ["sample.low_res_noise=16"]))
