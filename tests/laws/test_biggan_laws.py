"""noise, label -> image -> logit: laws of BigGAN's parts, and of networks of every option."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from adm.networks.biggan import (
    BatchNorm,
    BigGANConfig,
    Discriminator,
    Generator,
    advance,
    orthogonality,
    settle,
)
from adm.networks.biggan.blocks import SelfAttention
from adm.networks.biggan.spectral import Conv2d, Embedding, Linear
from adm.recipes import build, recipe

SMALL = BigGANConfig(
    in_channels=1,
    size=(8, 12),
    channels=8,
    multipliers=(1, 2),
    noise=8,
    classes=3,
    class_width=6,
    split_noise=True,
)
NO_CLASSES = {"classes": None}
DEEP = {"deep": True, "split_noise": False}
OPTIONS = [
    {},
    NO_CLASSES,
    DEEP,
    DEEP | NO_CLASSES,
    {"split_noise": False},
    {"deep": True, "noise": 9},
    {"attention_factors": (1,)},
    DEEP | {"attention_factors": (1, 2)},
    {"discriminator_channels": 16, "multipliers": (1, 1, 4), "noise": 9},
]


def seeded(make, *arguments):
    torch.manual_seed(0)
    return make(*arguments)


def noise_of(config, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = None if config.classes is None else torch.arange(count) % config.classes
    return torch.randn(count, config.noise, generator=generator), labels


def size_of(weight):
    return torch.linalg.matrix_norm(weight.flatten(1).double(), 2).item()


LAYERS = [
    lambda: Conv2d(3, 5, 3),
    lambda: Linear(7, 4),
    lambda: Linear(4, 7),
    lambda: Embedding(6, 5),
]


@pytest.mark.parametrize("make", LAYERS)
def test_the_largest_singular_value_of_an_exact_layer_is_1(make) -> None:
    layer = seeded(make)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape) * 3)
    layer.make_exact()
    assert size_of(layer.normalised) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("make", LAYERS)
def test_power_iteration_reaches_the_exact_singular_value(make) -> None:
    layer = seeded(make)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape))
    before = size_of(layer.normalised)
    for _ in range(300):
        advance(layer)
    assert size_of(layer.normalised) == pytest.approx(1, abs=1e-5)
    assert before > 1.01  # an estimate from below divides by too little


def test_the_gradient_is_that_of_the_exact_singular_value() -> None:
    layer = seeded(Linear, 6, 5)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(5, 6))
    layer.make_exact()
    target = torch.randn(5, 6)
    (layer.normalised * target).sum().backward()
    weight = layer.weight.detach().double().requires_grad_()
    (weight / torch.linalg.matrix_norm(weight, 2) * target).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad.double(), weight.grad, rtol=1e-4, atol=1e-5)


def test_orthogonal_rows_have_no_regularisation() -> None:
    assert orthogonality(seeded(Linear, 6, 3))().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("width", "count"), [(6, 3), (3, 6)])
def test_other_rows_have_their_squared_products(width: int, count: int) -> None:
    layer = seeded(Linear, width, count)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(count, width))
    rows = layer.weight.detach().double()
    pairs = itertools.permutations(range(count), 2)
    expected = sum(float(rows[i] @ rows[j]) ** 2 for i, j in pairs)
    assert orthogonality(layer)().item() == pytest.approx(expected, rel=1e-5)


def layer_of(layer: BatchNorm) -> nn.Module:
    """The layer as a generator: (noise, label) -> noise normalised."""

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, noise, label):
            return self.layer(noise, torch.ones(1, layer.channels), torch.zeros(1, layer.channels))

    return Alone()


def test_a_batch_is_normalised_to_mean_0_and_variance_1_then_scaled_and_shifted() -> None:
    x = 3 + 2 * torch.randn(16, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    gain, bias = torch.full((1, 4), 2.0), torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    y = BatchNorm(4)(x, gain, bias)
    torch.testing.assert_close(y.mean((0, 2, 3)), bias[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), gain[0] ** 2, rtol=1e-4, atol=0)
    reference = nn.functional.batch_norm(x, None, None, training=True) * 2 + bias[0, :, None, None]
    torch.testing.assert_close(y, reference, rtol=1e-5, atol=1e-5)


def test_the_variance_around_a_large_mean_does_not_cancel() -> None:
    """In float32, squares of 1e4 leave nothing of a variance of 1."""
    x = torch.randn(16, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    gain, bias = torch.ones(1, 2), torch.zeros(1, 2)
    near, far = BatchNorm(2)(x, gain, bias), BatchNorm(2)(x.double().add(1e4).float(), gain, bias)
    torch.testing.assert_close(far, near, rtol=0, atol=5e-3)
    layer = BatchNorm(2)
    settle(layer_of(layer), [(x + 1e3, None), (x - 1e3, None)])
    assert layer.statistics is not None
    torch.testing.assert_close(layer.statistics.variance, torch.full((2,), 1e6), rtol=1e-3, atol=0)


@pytest.mark.parametrize("changes", OPTIONS)
def test_shapes_ranges_and_gradients_of_every_option(changes) -> None:
    config = replace(SMALL, **changes)
    generator, discriminator = seeded(Generator, config), seeded(Discriminator, config)
    noise, label = noise_of(config, 4)
    images = generator(noise, label)
    assert images.shape == (4, 1, 8, 12)
    assert images.abs().max() <= 1
    logits = discriminator(images, label)
    assert logits.shape == (4,)
    logits.sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name


@pytest.mark.parametrize("changes", OPTIONS)
def test_after_settling_an_image_does_not_depend_on_its_batch(changes) -> None:
    config = replace(SMALL, **changes)
    generator = seeded(Generator, config)
    settle(generator, [noise_of(config, 64)])
    noise, label = noise_of(config, 5, seed=1)
    together = generator(noise, label)
    alone = generator(noise[3:4], None if label is None else label[3:4])
    torch.testing.assert_close(together[3:4], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, DEEP])
def test_settled_statistics_are_those_of_one_batch_and_nearly_those_of_its_parts(changes) -> None:
    config = replace(SMALL, **changes)
    generator = seeded(Generator, config)
    noise, label = noise_of(config, 1536)
    assert label is not None
    trained = generator.train()(noise, label)
    settle(generator, [(noise, label)])
    assert not generator.training
    torch.testing.assert_close(generator(noise, label), trained, rtol=0, atol=1e-5)
    settle(generator, list(zip(noise.split(512), label.split(512), strict=True)))
    assert (generator(noise, label) - trained).abs().mean() < 0.01


def test_images_without_statistics_are_refused() -> None:
    generator = seeded(Generator, SMALL).eval()
    with pytest.raises(RuntimeError, match="call settle first"):
        generator(*noise_of(SMALL, 2))


def test_a_piece_of_the_noise_moves_only_its_block_and_what_follows() -> None:
    config = replace(SMALL, multipliers=(1, 1, 1), noise=9)
    generator = seeded(Generator, config)
    noise, label = noise_of(config, 6)
    inputs: list[torch.Tensor] = []
    generator.stages[1].register_forward_hook(lambda layer, x, h: inputs.append(x[0]))
    moved = noise.clone()
    moved[:, 6:] += 1  # the last piece, that of the second block
    first, second = generator(noise, label), generator(moved, label)
    torch.testing.assert_close(inputs[0], inputs[1], rtol=0, atol=0)
    assert (first - second).abs().max() > 1e-3


def test_attention_starts_as_the_identity() -> None:
    layer = seeded(SelfAttention, 8)
    x = torch.randn(2, 8, 4, 6)
    assert torch.equal(layer(x), x)


def test_the_discriminator_learns_which_label_belongs_to_which_image() -> None:
    """The hinge loss has its minimum, 0, only if the logit depends on both together.

    Real images are light with the label 1 and dark with 0; false ones are the opposite. Either
    alone has no information, and without the projection the loss cannot fall below 2.
    """
    light = torch.ones(2, 1, 8, 12) * torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    losses = {}
    for classes in (2, None):
        critic = seeded(Discriminator, replace(SMALL, classes=classes))
        optimizer = torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.0, 0.999))
        labels = (right, wrong) if classes else (None, None)
        for _ in range(150):
            advance(critic)
            real, false = critic(light, labels[0]), critic(light, labels[1])
            loss = (torch.relu(1 - real) + torch.relu(1 + false)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[classes] = loss.item()
    assert losses[2] < 0.05
    assert losses[None] > 1.9


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [  # Brock et al. 2019, appendix B: 70.4 and 88.0 million; BigGAN-deep: 50.4 and 34.6 million.
        ("biggan-128", 70_433_988, 87_982_370),
        ("biggan-deep-128", 50_244_484, 34_590_210),
        ("biggan-deep-256", 55_736_708, 38_247_426),
    ],
)
def test_the_papers_networks_have_the_papers_sizes(
    name: str, generator: int, discriminator: int
) -> None:
    with torch.device("meta"):
        networks = build.networks(recipe(name)).values()
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == [generator, discriminator]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": 7}, "does not split into 2 equal pieces.*set noise=8"),
        ({"size": (9, 12)}, "9x12 cannot be halved 1 times"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"classes": 0}, "classes must be at least 1"),
        ({"multipliers": (1,)}, "multipliers must be 2 to 12 numbers"),
        ({"multipliers": (1, 0)}, r"multipliers must be in 1\.\."),
        ({"attention_factors": (3,)}, "must be among"),
        ({"channels": 6, "attention_factors": (1,)}, "multiple of 8 for attention"),
        ({"channels": 6, "deep": True}, "multiple of 4 for bottleneck"),
    ],
)
def test_bad_settings_are_refused_with_their_cure(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_labels_must_be_given_exactly_where_they_are_taken() -> None:
    for changes, label in (({}, None), (NO_CLASSES, torch.tensor([0]))):
        config = replace(SMALL, **changes)
        with pytest.raises(ValueError, match="this generator takes"):
            seeded(Generator, config)(torch.zeros(1, 8), label)
        with pytest.raises(ValueError, match="this discriminator takes"):
            seeded(Discriminator, config)(torch.zeros(1, 1, 8, 12), label)
