"""Pairs -> a model that follows its condition, in training and in sampling."""

import re
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor, nn

from adm.generation.diffusion import DiffusionGenerator
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline
from adm.images import to_float
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel
from adm.networks import NO_LABEL
from adm.processes import Devices
from adm.recipes import DiffusionRecipe, build, recipe
from adm.recipes.resolve import Facts, resolve
from adm.recipes.schema import override
from adm.runs.data import DataOptions, check_source
from adm.runs.watch.validation import measure
from adm.samplers import DDIM, Even, Sampling
from adm.spec import SettingError
from adm.training.batches import batch_at

CPU = Devices(torch.device("cpu"))
COPIED = tiny.paired("process.prediction=x_0", "loss=simple")
DROPPED = ("train.label_dropout=0.5", "data.low_res_noise=9", "unet.conditions=low_res")


class Listener(nn.Module):
    """A network that records its labels and its condition."""

    def forward(
        self, x_t: Tensor, step: Tensor, label: Tensor, low: Tensor, conditions: Tensor
    ) -> Tensor:
        self.label, self.low = label, low
        return torch.zeros(len(x_t), 2, *x_t.shape[2:])


def test_a_condition_is_withheld_with_the_label_and_is_else_the_other_image() -> None:
    network, batch = Listener(), batch_at(tiny.pairs(), 0, 0, 200)
    (objective,) = build.objectives(tiny.paired(*DROPPED), torch.device("cpu"))
    objective(network, batch)
    dropped = network.label == NO_LABEL
    assert 60 < int(dropped.sum()) < 140
    assert (network.low[dropped] == 0).all()
    upside_down = to_float(batch.images.flip(2))
    assert torch.equal(network.low[~dropped], upside_down[~dropped])


def test_validation_is_of_pairs_as_training_is() -> None:
    """Copying has no loss on copies and a loss on pairs, for held-out images too."""
    (objective,) = build.objectives(COPIED, torch.device("cpu"))
    losses = [
        measure(objective, Copying(), source, devices=CPU, count=8, batch_size=4)["loss"].mean()
        for source in (replace(tiny.stripes(), condition=tiny.stripes()), tiny.pairs())
    ]
    assert losses[0] == 0
    assert losses[1] > 0.01


def test_an_image_is_never_its_own_condition_by_default() -> None:
    (objective,), network = (
        build.objectives(tiny.paired(), CPU.device),
        build.network(tiny.paired()),
    )
    with pytest.raises(ValueError, match="needs a low-resolution image"):
        objective(network, batch_at(tiny.stripes(), 0, 0, 2))
    assert objective(network, batch_at(tiny.pairs(), 0, 0, 2)).loss.isfinite().all()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    path = tmp_path_factory.mktemp("models") / "paired.safetensors"
    return load_diffusion(tiny.model(path, tiny.paired("train.label_dropout=0.1")))


def test_free_guidance_contrasts_with_the_unconditional_model(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, network = [], model.prepared()

    def listening(x: Tensor, t: Tensor, label: Tensor, low: Tensor, conditions: Tensor) -> Tensor:
        calls.append((label, low))
        return network(x, t, label, low, conditions)

    monkeypatch.setattr(DiffusionModel, "prepared", lambda *_: listening)
    sampling = Sampling(sampler=DDIM(), grid=Even(steps=2)).change(guide="free:scale=2")
    _, labels, condition = tiny.pairs().pairs(range(4))
    list(DiffusionGenerator(model, sampling).trajectory(labels, range(4), condition))
    conditional = [(label, low) for label, low in calls if low.any()]
    unconditional = [(label, low) for label, low in calls if not low.any()]
    assert len(conditional) == len(unconditional) == 2
    for label, low in conditional:
        assert torch.equal(label, labels)
        assert torch.equal(low, to_float(condition))
    assert all((label == NO_LABEL).all() for label, _ in unconditional)


def test_a_model_of_pairs_needs_a_condition_for_each_image(model: DiffusionModel) -> None:
    generator = DiffusionGenerator(model, Sampling(sampler=DDIM(), grid=Even(steps=2)))
    with pytest.raises(SettingError, match="`adm sample --condition`, or in Python as inputs"):
        Job(generator, [0, 1], 2)
    with pytest.raises(SettingError, match=r"uint8 \(N, 1, 8, 8\)"):
        Job(generator, [0, 1], 2, torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


class Copying(nn.Module):
    """The best estimate of x_0 if it equals the condition."""

    def forward(self, x_t: Tensor, step: Tensor, label: Tensor, low: Tensor) -> Tensor:
        return torch.cat([low, torch.zeros_like(low)], dim=1)


def test_a_model_that_copies_has_no_loss_on_copies_and_samples_them(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (objective,) = build.objectives(COPIED, torch.device("cpu"))
    data = tiny.stripes()
    copies = replace(data, condition=data)
    assert (objective(Copying(), batch_at(copies, 0, 0, 20)).loss == 0).all()
    assert (objective(Copying(), batch_at(tiny.pairs(), 0, 0, 20)).loss > 0.01).all()
    copier = replace(model, recipe=COPIED)
    monkeypatch.setattr(
        DiffusionModel,
        "prepared",
        lambda *_: lambda x, t, label, low, conditions: Copying()(x, t, label, low),
    )
    inputs, labels = data.batch(range(6))
    samples = Pipeline(copier).sample(labels, inputs=inputs, steps=5, sampler="ancestral")
    assert torch.equal(samples.images, inputs)


def test_a_recipe_becomes_one_of_pairs_by_the_data() -> None:
    pairs = Facts(paired=True)
    digits = override(recipe("digits"), ["data.size=16,16"])
    chosen = resolve(digits, pairs, ["data.size"])
    assert isinstance(chosen, DiffusionRecipe)
    assert chosen.unet.super_resolution
    assert (chosen.data.paired, chosen.data.low_res) == (True, (16, 16))
    build.check(chosen)
    larger = resolve(recipe("digits-upsampler"), pairs)
    assert (larger.data.paired, larger.data.low_res) == (True, (4, 4))
    for name in ("digits-classifier", "fashion-distilled"):
        with pytest.raises(SettingError, match="no student takes condition; leave it out"):
            resolve(recipe(name), pairs)
    with pytest.raises(SettingError, match=r"digits is conditioned on images; give condition=DATA"):
        check_source(tiny.paired(), tiny.stripes())
    with pytest.raises(SettingError, match=re.escape("stripes are pairs; set data.paired=true")):
        check_source(tiny.diffusion(), tiny.pairs())
    with pytest.raises(SettingError, match=re.escape("set data.low_res=8,8")):
        check_source(tiny.paired("data.low_res=4,4"), tiny.pairs())
    with pytest.raises(SettingError, match=r"data\.paired=True needs data\.low_res"):
        build.check(tiny.diffusion("data.paired=true"))
    with pytest.raises(SettingError, match="a Source has conditions of its own"):
        DataOptions(data=tiny.pairs(), condition="digits")
