"""baselines/biggan.py: laws of its formulae, and its weights."""

import itertools
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
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
