"""GAN, truncation, labels, indices -> images: each a function of its own label and index."""

from pathlib import Path

import pytest
import tiny
import torch

from adm.adversarial import truncated
from adm.generation.pipeline import Pipeline, load
from adm.models.load import load_any, load_diffusion
from adm.models.teacher import Teacher
from adm.networks.biggan.spectral import Spectral


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "gan"
    tiny.steps(tiny.gan("train.steps=6"), tiny.stripes(), folder)
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> Pipeline:
    return load(run)


def test_an_image_depends_on_its_label_its_index_and_the_seed(model: Pipeline) -> None:
    whole = model.sample("all:3", seed=5)
    generator = model.generator(seed=5)
    assert whole.labels is not None
    one = generator.images(whole.labels[4:5], [4])
    assert torch.equal(one[0], whole.images[4])
    assert not torch.equal(generator.images(whole.labels[4:5], [5])[0], whole.images[4])
    assert not torch.equal(model.sample("all:3", seed=6).images, whole.images)


def test_truncation_narrows_the_images_and_no_limit_is_a_far_one(model: Pipeline) -> None:
    spread = [
        model.sample("bag:64", truncation=limit).images.double().std(0).mean().item()
        for limit in (0.1, 0.5, 1.0, None)
    ]
    assert spread == sorted(spread)
    assert spread[0] < spread[-1] / 2
    far, none = (model.sample("bag:8", truncation=limit).images for limit in (100.0, None))
    assert (far.int() - none.int()).abs().max() <= 1
    assert model.sampling.change(truncation=0.5).change(truncation="none") == model.sampling


def test_statistics_are_those_of_the_noise_that_is_sampled(model: Pipeline) -> None:
    """In the first normalisation, the mean square of truncated noise is that of its features."""
    network = model.model.network
    first = network.stages[0].norm_in.norm
    for limit in (0.3, None):
        model.sample("all:1", truncation=limit)
        noise = truncated(3, range(3000), network.config.noise, limit)
        piece = noise.chunk(network.config.pieces, dim=1)[0]
        with torch.no_grad():
            features = network.first(piece).view(3000, -1, *network.config.smallest)
        variance = features.var((0, 2, 3), correction=0)
        torch.testing.assert_close(first.statistics.variance, variance, rtol=0.1, atol=0)


def test_going_back_to_a_truncation_gives_the_same_images(model: Pipeline) -> None:
    first = model.sample("all:2", truncation=0.5).images
    model.sample("all:2", truncation=2.0)
    assert torch.equal(model.sample("all:2", truncation=0.5).images, first)


def test_statistics_do_not_depend_on_the_precision_of_the_first_images(run: Path) -> None:
    half, both = load(run), load(run)
    settings = {"truncation": 0.7, "precision": "bfloat16"}
    both.sample("all:1", truncation=0.7, precision="float32")
    images = [model.sample("all:4", **settings).images for model in (half, both)]
    assert torch.equal(images[0], images[1])


def test_averaged_weights_are_normalised_exactly(run: Path, model: Pipeline) -> None:
    for layer in model.model.network.modules():
        if isinstance(layer, Spectral):
            size = torch.linalg.matrix_norm(layer.normalised.flatten(1).double(), 2)
            assert size.item() == pytest.approx(1, abs=1e-5)


def test_the_model_is_the_generator_s_average_of_the_newest_checkpoint(run: Path) -> None:
    model = load_any(run)
    assert model.path == run / "checkpoints/step-0000006/generator/model.safetensors"
    assert (model.name, model.classes, model.shape) == ("gan", tiny.CLASSES, (1, 8, 8))
    assert repr(model).startswith("GANModel(")
    raw = load_any(run / "checkpoints/step-0000006/generator/raw.safetensors")
    assert any(
        not torch.equal(a, b)
        for a, b in zip(model.network.parameters(), raw.network.parameters(), strict=True)
    )


def test_a_gan_is_refused_where_a_diffusion_model_is_needed(run: Path) -> None:
    with pytest.raises(ValueError, match="is a GAN; give a diffusion model"):
        load_diffusion(run)
    with pytest.raises(ValueError, match="is a GAN; give a diffusion model"):
        Teacher.load(run)


def test_unknown_settings_are_refused_with_those_that_exist(model: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"^steps must be left out for a GAN"):
        model.sample(count=2, steps=3)


def test_numbers_that_are_not_finite_are_refused(run: Path) -> None:
    broken = load(run)
    with torch.no_grad():
        broken.model.network.conv_out.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="gave NaN or infinity"):
        broken.sample(count=1)
