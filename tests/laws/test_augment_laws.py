"""Changes of images: what they preserve, and networks conditioned on them and on none."""

import math
from dataclasses import replace

import nets
import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from adm import losses
from adm.data.source import in_memory
from adm.diffusion import FIXED_SMALL, X_0, Parameterization, cosine, process
from adm.images import to_float
from adm.networks import UNet, prepared
from adm.recipes import build
from adm.recipes.build import autocast_for
from adm.recipes.following import following
from adm.spec import SettingError
from adm.training import augment, objective
from adm.training.batches import CHANGES, Augmentation, batch_at, stream

NAMES = ("left", "up", "size", "turn", "stretch", "axis", "right", "down")
OFTEN = Augmentation(changes=0.3)
FULL = autocast_for("float32", torch.device("cpu"))


def noisy(count: int = 4, side: tuple[int, int] = (20, 28)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *side), generator=generator, dtype=torch.uint8)


def changed(images: Tensor, **values: float) -> Tensor:
    parameters = np.zeros((len(images), augment.PARAMETERS))
    for name, value in values.items():
        parameters[:, NAMES.index(name)] = value
    return augment.change(images, parameters)


def test_the_filters_up_and_down_cancel_at_every_size() -> None:
    for side in (1, 2, 7, 28):
        up, down = augment._filters(side)
        torch.testing.assert_close(down @ up, torch.eye(side), atol=1e-6, rtol=0)
        torch.testing.assert_close(up.sum(1), torch.ones(len(up)), atol=1e-6, rtol=0)


def test_mirrors_half_turns_and_quarter_turns_move_pixels_and_change_none() -> None:
    images = noisy()
    assert torch.equal(changed(images, left=1), images.flip(3))
    assert torch.equal(changed(images, up=1), images.flip(2))
    assert torch.equal(changed(changed(images, left=1), left=1), images)
    assert torch.equal(changed(images, turn=math.pi), images.flip(2, 3))
    square = images[:, :, :, :20]
    assert torch.equal(changed(square, turn=math.pi / 2), square.rot90(-1, (2, 3)))  # clockwise


def test_a_translation_by_whole_pixels_moves_them_to_the_right_and_down() -> None:
    images = noisy()
    moved = changed(images, right=3 * 8 / 28, down=2 * 8 / 20)
    assert torch.equal(moved[:, :, 6:-2, 7:-2], images[:, :, 4:-4, 4:-5])
    even = torch.full_like(images, 77)
    assert torch.equal(changed(even, right=0.3, turn=1, size=-2, stretch=1, axis=2), even)


def test_a_larger_size_and_a_stretch_along_an_axis_enlarge() -> None:
    """A disc covers 2^(2 a/5) times as many pixels; a stretch keeps its area."""
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    disc = (255 * ((12 - (x**2 + y**2).sqrt()).clamp(0, 1)))[None, None].byte()
    spread = disc.float().var(2).sum(), disc.float().var(3).sum()

    def area(**values: float) -> float:
        return float(changed(disc, **values).float().sum() / disc.float().sum())

    assert area(size=1) == pytest.approx(2**0.4, rel=0.01)
    assert area(size=-1) == pytest.approx(2**-0.4, rel=0.01)
    assert area(stretch=1, axis=0.7) == pytest.approx(1, rel=0.01)
    wide = changed(disc, stretch=1).float()
    across = (wide.sum((1, 2)) > 255).sum() / (disc.float().sum((1, 2)) > 255).sum()
    assert float(across) == pytest.approx(2**0.2, abs=0.05)
    assert spread[0] == pytest.approx(float(spread[1]))


def test_a_shrunk_grating_that_pixels_cannot_resolve_is_even_and_not_aliased() -> None:
    """Stripes of one pixel, made smaller: point samples would show a coarse pattern instead."""
    stripes = (torch.arange(64) % 2 * 255).byte().expand(1, 1, 64, 64).clone()
    shrunk = changed(stripes, size=-2.5)[:, :, 16:-16, 16:-16].float()
    assert float(shrunk.std()) < 0.25 * float(stripes.float().std())


def test_the_condition_is_0_just_where_nothing_changes() -> None:
    source = tiny.stripes(30)
    plain, batch = batch_at(source, 3, 0, 200), batch_at(source, 3, 0, 200, OFTEN)
    assert plain.changes is None
    unchanged = (batch.changes == 0).all(1)
    assert torch.equal(batch.images[unchanged], plain.images[unchanged])
    same = (batch.images == plain.images).flatten(1).all(1)
    assert torch.equal(same, unchanged)
    assert float(unchanged.float().mean()) == pytest.approx(0.7**6, abs=0.1)
    for mine, other in zip(batch.draws, plain.draws, strict=True):
        assert np.array_equal(mine, other)  # other draws are unchanged


def test_each_change_has_its_probability_and_is_independent() -> None:
    drawn = np.stack([augment.draw_changes(0.3, stream(0, i, CHANGES)) for i in range(4000)])
    happen = drawn != 0
    assert happen.mean(0) == pytest.approx(0.3, abs=0.03)
    apart = happen[:, [0, 1, 2, 3, 4, 6]]  # the axis belongs to the stretch, down to right
    assert np.corrcoef(apart.T) == pytest.approx(np.eye(6), abs=0.06)
    assert np.array_equal(happen[:, 4], happen[:, 5])
    turned = drawn[happen[:, 3], 3]
    assert abs(np.exp(1j * turned).mean()) < 0.1
    for column in (2, 4, 6, 7):
        assert drawn[happen[:, column], column].std() == pytest.approx(1, abs=0.1)


def test_changes_are_a_function_of_seed_and_position() -> None:
    source = tiny.stripes(30)
    whole = batch_at(source, 7, 0, 24, OFTEN)
    parts = [batch_at(source, 7, start, count, OFTEN) for start, count in ((0, 5), (5, 19))]
    for name in ("images", "changes"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name))
    part = whole.part(3, 9)
    assert torch.equal(part.changes, whole.changes[3:9])  # type: ignore[index]
    other = batch_at(source, 8, 0, 24, OFTEN)
    assert not torch.equal(other.changes, whole.changes)  # type: ignore[arg-type]


def test_a_network_without_changes_is_the_one_without_the_layer() -> None:
    config = replace(nets.CONFIG, changes=augment.AUGMENT_DIM)
    torch.manual_seed(1)
    network = UNet(config)
    torch.manual_seed(1)
    without = UNet(nets.CONFIG)
    for name, parameter in without.state_dict().items():
        assert torch.equal(parameter, network.state_dict()[name]), name
    nets.filled(network)
    shared = {n: w for n, w in network.state_dict().items() if not n.startswith("change_")}
    without.eval().requires_grad_(False).load_state_dict(shared)
    x, t, label = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 9.0]), torch.tensor([0, 2])
    plain = without(x, t, label)
    assert torch.equal(network(x, t, label), plain)
    assert torch.equal(network(x, t, label, changes=torch.zeros(2, augment.AUGMENT_DIM)), plain)
    assert not torch.allclose(
        network(x, t, label, changes=torch.ones(2, augment.AUGMENT_DIM)), plain
    )
    assert torch.equal(prepared(network)(x, t, label), prepared(without)(x, t, label))
    with pytest.raises(ValueError, match="9 numbers, got 3"):
        network(x, t, label, changes=torch.ones(2, 3))


def test_the_network_follows_the_data_and_is_conditioned_on_its_changes() -> None:
    recipe = tiny.diffusion("data.augment=0.12")
    with pytest.raises(SettingError, match=r"unet\.changes must be 9"):
        build.check(recipe)
    followed = following(recipe)
    build.check(followed)
    assert followed.config == replace(recipe.config, changes=augment.AUGMENT_DIM)
    build.check(tiny.classifier("data.augment=0.12"))  # which has no such input
    for other in (tiny.gan("data.augment=0.1"), tiny.student("data.augment=0.1")):
        with pytest.raises(SettingError, match=r"data\.augment must be 0"):
            build.check(other)


def posterior_mean(images: Tensor, x_t: Tensor, level: int) -> Tensor:
    """E[x_0 | x_t] if x_0 is one of these (N, D) images, each equally likely."""
    schedule = cosine(100)
    signal, sigma = float(schedule.signal[level]), float(schedule.sigma[level])
    apart = torch.cdist(x_t, signal * images) ** 2
    return (-apart / (2 * sigma**2)).softmax(1) @ images


def test_the_best_conditional_denoiser_without_changes_is_that_of_the_original_images() -> None:
    """The unconditional one denoises towards turned and shifted images."""
    source = tiny.stripes(6)
    batch = batch_at(source, 0, 0, 6000, Augmentation(changes=0.2))
    assert batch.changes is not None
    augmented = batch.images.flatten(1).double() / 127.5 - 1
    originals = source.batch(range(6))[0].flatten(1).double() / 127.5 - 1
    level, schedule = 60, cosine(100)
    noise = torch.randn(50, originals.shape[1], generator=torch.Generator().manual_seed(0)).double()
    x_t = process.diffuse(schedule, originals[torch.arange(50) % 6], noise, level)
    oracle = posterior_mean(originals, x_t, level)
    conditional = posterior_mean(augmented[(batch.changes == 0).all(1)], x_t, level)
    unconditional = posterior_mean(augmented, x_t, level)
    assert (
        float((conditional - oracle).abs().mean())
        < 0.02
        < float((unconditional - oracle).abs().mean())
    )


class Perceptron(nn.Module):
    """x_t, changes -> x_0 of 8x8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(64 + augment.AUGMENT_DIM, 128), nn.SiLU(), nn.Linear(128, 64)
        )

    def forward(
        self, x_t: Tensor, timestep: Tensor, *_: None, changes: Tensor | None = None
    ) -> Tensor:
        condition = torch.zeros(len(x_t), augment.AUGMENT_DIM) if changes is None else changes
        return self.layers(torch.cat([x_t.flatten(1), condition], 1)).reshape(x_t.shape)


def test_a_network_trained_on_changes_samples_unchanged_images() -> None:
    """From pure noise, trained on one image, three quarters of whose copies are changed."""
    conditional, unconditional = (
        _error_of_trained(conditional=True),
        _error_of_trained(conditional=False),
    )
    assert conditional < 0.5 * unconditional


def _error_of_trained(*, conditional: bool) -> float:
    image = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    image[0, 0, 1:3, 1:6], image[0, 0, 3:6, 1:2] = 255, 160  # without any symmetry
    source = in_memory("one", ("a",), image.repeat(4, 1, 1, 1), torch.zeros(4))
    network, schedule = Perceptron(), cosine(20)
    trained = objective.diffusion(
        schedule, Parameterization(X_0, FIXED_SMALL), losses.simple, labelled=False, autocast=FULL
    )
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(400):
        batch = batch_at(source, 0, 32 * step, 32, Augmentation(changes=0.2))
        optimizer.zero_grad()
        trained(
            network, batch if conditional else batch._replace(changes=None)
        ).loss.mean().backward()
        optimizer.step()
    noise = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        drawn = network(noise, schedule.timestep(schedule.last, noise))
    return float((drawn - to_float(image)).square().mean())
