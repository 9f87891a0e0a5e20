"""baselines/biggan.py: laws of its formulae, its weights, a stopped run, the command line."""

import hashlib
import itertools
import math
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from torch import nn

FOLDER = Path(__file__).parents[2] / "baselines"
CPU = torch.device("cpu")


sys.path.append(str(FOLDER))
biggan, rival = map(import_module, ("biggan", "rival"))
SMALL = biggan.Config(
    size=(8, 12), classes=3, channels=8, multipliers=(1, 2), noise=8, class_width=6, batch_size=4
)
LAYERS = {
    "convolution": lambda: biggan.Conv2d(3, 5, 3),
    "wide": lambda: biggan.Linear(7, 4),
    "narrow": lambda: biggan.Linear(4, 7),
    "embedding": lambda: biggan.Embedding(6, 5),
}


def random_layer(name: str) -> biggan.Spectral:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape) * 3)
    return layer


def norm_of(weight: torch.Tensor) -> float:
    return torch.linalg.matrix_norm(weight.flatten(1).double(), 2).item()


@pytest.mark.parametrize("name", LAYERS)
def test_the_largest_singular_value_is_1_exactly_and_by_power_iteration(name: str) -> None:
    layer = random_layer(name)
    assert norm_of(layer.normalised) > 1.01  # an estimate from below divides by too little
    for _ in range(300):
        biggan.improve(layer)
    assert norm_of(layer.normalised) == pytest.approx(1, abs=1e-5)
    layer.make_exact()
    assert norm_of(layer.normalised) == pytest.approx(1, abs=1e-6)


def test_the_gradient_is_that_of_the_exact_singular_value() -> None:
    layer, target = random_layer("wide"), torch.randn(4, 7)
    layer.make_exact()
    (layer.normalised * target).sum().backward()
    weight = layer.weight.detach().double().requires_grad_()
    (weight / torch.linalg.matrix_norm(weight, 2) * target).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(layer.weight.grad.double(), weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_the_regularisation_is_the_squared_products_of_different_rows(name: str) -> None:
    assert biggan.orthogonality(LAYERS["wide"]()).item() == pytest.approx(0, abs=1e-9)
    layer = random_layer(name)
    rows = layer.weight.detach().double()
    expected = sum(float(a @ b) ** 2 for a, b in itertools.permutations(rows, 2))
    assert biggan.orthogonality(layer).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mean", [3.0, 1e4])  # whose square leaves nothing of a variance of 1
def test_a_batch_is_normalised_then_scaled_and_shifted(mean: float) -> None:
    x = torch.randn(16, 2, 5, 6, generator=torch.Generator().manual_seed(0)).double() + mean
    y = biggan.BatchNorm()(x.float(), torch.full((1, 2), 2.0), torch.tensor([[0.0, 1.0]]))
    expected = nn.functional.batch_norm(x, None, None, training=True) * 2
    expected[:, 1] += 1
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=5e-3 if mean > 10 else 1e-5)


def test_after_settling_an_image_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    generator = biggan.Generator(SMALL)
    noise, label = rival.draw_noise(0, range(256), SMALL.noise, None), torch.arange(256) % 3
    trained = generator(noise, label)
    biggan.settle(generator, None, range(256))
    together = generator(noise, label)
    torch.testing.assert_close(together, trained, rtol=0, atol=1e-5)
    torch.testing.assert_close(generator(noise[3:4], label[3:4]), together[3:4], rtol=0, atol=1e-5)


def test_statistics_are_those_of_the_noise_that_is_sampled() -> None:
    torch.manual_seed(0)
    generator = biggan.Generator(SMALL)
    for limit in (0.3, None):
        biggan.settle(generator, limit, range(1024))
        noise = rival.draw_noise(3, range(3000), SMALL.noise, limit)
        with torch.no_grad():
            h = generator.first(noise.chunk(2, dim=1)[0]).view(3000, -1, *SMALL.smallest)
        variance = generator.stages[0].norm_in.norm.statistics[1]
        expected = h.var((0, 2, 3), correction=0)
        torch.testing.assert_close(variance, expected, rtol=0.15, atol=0)


def test_a_piece_of_the_noise_moves_only_its_block_and_what_follows() -> None:
    config = replace(SMALL, multipliers=(1, 1, 1), noise=9)
    torch.manual_seed(0)
    generator, inputs = biggan.Generator(config), []
    generator.stages[1].register_forward_hook(lambda layer, x, h: inputs.append(x[0]))
    noise, label = torch.randn(6, 9), torch.arange(6) % 3
    moved = noise.clone()
    moved[:, 6:] += 1
    assert (generator(noise, label) - generator(moved, label)).abs().max() > 1e-3
    assert torch.equal(*inputs)


def test_the_discriminator_learns_which_label_belongs_to_which_image() -> None:
    """Real images are light with the label 1 and dark with 0; false ones are the opposite."""
    light = torch.ones(2, 1, 8, 12) * torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    torch.manual_seed(0)
    critic = biggan.Discriminator(replace(SMALL, classes=2))
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.0, 0.999))
    for _ in range(150):
        biggan.improve(critic)
        real, fake = (critic(light, torch.tensor(each)) for each in ([0, 1], [1, 0]))
        loss = biggan.critic_loss(real, fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05  # 2 for a logit that does not depend on both together


def test_the_losses_are_those_of_the_paper() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0, 1.0]), torch.tensor([-2.0, 0.5, 1.0, -1.0])
    assert biggan.critic_loss(real, fake).item() == (0 + 0.5 + 1.5 + 2 + 2 + 0) / 4
    assert biggan.generator_loss(fake).item() == -fake.mean().item()


@pytest.mark.parametrize("limit", [None, 2.0, 0.5, 0.04])
def test_truncated_noise_has_the_normal_distribution_given_its_range(limit: float | None) -> None:
    noise, end = rival.draw_noise(7, range(300), 64, limit), limit or math.inf
    assert noise.abs().max() <= end
    fit = stats.kstest(noise.flatten().double().numpy(), stats.truncnorm(-end, end).cdf)
    assert fit.pvalue > 0.01
    assert torch.equal(rival.draw_noise(7, [9], 64, limit)[0], noise[9])


def pictures() -> torch.Tensor:
    return torch.rand(64, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def uniforms(**columns: float) -> torch.Tensor:
    drawn = torch.rand(64, 7, generator=torch.Generator().manual_seed(1))
    for column, value in columns.items():
        drawn[:, int(column[1:])] = value
    return drawn


def test_colours_change_by_brightness_saturation_and_contrast() -> None:
    x, close = pictures(), {"rtol": 0, "atol": 1e-6}
    level = x.mean((1, 2, 3), keepdim=True)
    for column, value, expected in (
        ("c0", 0.5, x),
        ("c0", 0.75, x + 0.25),
        ("c1", 0.0, x.mean(1, keepdim=True).expand_as(x)),
        ("c2", 0.0, level + (x - level) / 2),
    ):
        drawn = uniforms(**({"c0": 0.5, "c1": 0.5, "c2": 0.5} | {column: value}))
        torch.testing.assert_close(rival.recolour(x, drawn), expected, **close)


def test_translation_shifts_by_up_to_an_eighth_and_fills_with_0() -> None:
    x, shifted = pictures(), rival.translate(pictures(), uniforms())
    around = nn.functional.pad(x, (3, 3, 2, 2))
    shifts = {
        (down, right)
        for down, right in itertools.product(range(-2, 3), range(-3, 4))
        for before, after in zip(around, shifted, strict=True)
        if torch.equal(before[:, 2 - down :, 3 - right :][:, :16, :24], after)
    }
    assert {down for down, _ in shifts} == {*range(-2, 3)}
    assert {right for _, right in shifts} == {*range(-3, 4)}


def test_cutout_sets_one_rectangle_of_half_the_sides_to_0() -> None:
    inside = rival.cut_out(pictures(), uniforms(c5=0.5, c6=0.5))
    assert (inside == 0).all(1).flatten(1).sum(1).tolist() == [8 * 12] * 64
    for before, after in zip(pictures(), rival.cut_out(pictures(), uniforms()), strict=True):
        cut = (after == 0).all(0)
        assert cut.sum() == cut.any(1).sum() * cut.any(0).sum() <= 8 * 12
        assert torch.equal(after[:, ~cut], before[:, ~cut])


@pytest.mark.parametrize("change", rival.CHANGES)
def test_gradients_pass_through_every_change(change: str) -> None:
    x = pictures().requires_grad_()
    rival.CHANGES[change](x, uniforms()).sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


PARAMETERS = {"fashion": (564_993, 824_417), "emoji": (824_707, 1_218_401)}


@pytest.mark.parametrize("name", biggan.PRESETS)
def test_the_shipped_weights_sample_their_classes(name: str) -> None:
    few = range(2**62, 2**62 + 64)  # images of the statistics, for time
    weights = FOLDER / f"{name}-biggan.safetensors"
    generator, classes = biggan.open_generator(weights, CPU, 0.5, few)
    assert generator.config == biggan.PRESETS[name]
    networks = generator, biggan.Discriminator(generator.config)
    counts = tuple(sum(p.numel() for p in network.parameters()) for network in networks)
    assert counts == PARAMETERS[name]
    labels = list(range(len(classes)))
    images = rival.sample(generator, labels, 0.5, seed=3)
    assert torch.equal(images, rival.sample(generator, labels, 0.5, seed=3))
    assert torch.equal(rival.sample(generator, labels[:4], 0.5, seed=3), images[:4])
    assert images.float().std() > 20


def run(*words: object) -> None:
    biggan.main([str(word) for word in words])


SETTINGS = "--size 8,8 --multipliers 1,2 --channels 8 --noise 8 --batch-size 8 --save-every 2"


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_that_was_stopped_is_the_run_that_was_not(tmp_path: Path) -> None:
    for out, counts in {"whole": (4,), "halves": (2, 4)}.items():
        for steps in counts:
            words = ["--data", "digits", "--out", tmp_path / out, "--steps", steps]
            run("--device", "cpu", "train", *words, *SETTINGS.split())
    file = "step-0000004.safetensors"
    whole, halves = (load_file(tmp_path / out / file) for out in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    with pytest.raises(SystemExit):
        run("train", *words, *SETTINGS.split(), "--noise", "16")
    weights, out = tmp_path / "whole" / file, tmp_path / "samples"
    run("sample", weights, "--classes", "3:2,7", "--truncation", "1", "--out", out)
    arrays = np.load(out / "samples.npz")
    assert arrays["arr_0"].shape == (3, 8, 8, 1)
    assert arrays["arr_1"].tolist() == [3, 3, 7]
