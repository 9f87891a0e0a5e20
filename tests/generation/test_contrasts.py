"""Models, settings of guidance without a classifier -> images, their cost and their manifest."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import adm
from adm.diffusion import clip
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import Cost, identity
from adm.guidance import Contrast, contrasted, thresholded
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel
from adm.samplers import (
    GUIDES,
    SAMPLERS,
    Ancestral,
    AttentionGuide,
    ClassifierGuide,
    FreeGuide,
    Sampling,
    WeakGuide,
)
from adm.spec import SettingError, convert, to_json
from adm.store.samples import read_manifest

DROPPED = "train.label_dropout=0.1"
LABELS = torch.tensor([0, 1, 2])
STRONG = {"free": "free:scale=3", "weak": "weak:scale=3", "attention": "attention:scale=4"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.model(folder / "d.safetensors", tiny.diffusion(DROPPED))
    tiny.model(folder / "w.safetensors", tiny.diffusion("train.label_dropout=0"), seed=2)
    tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> adm.Pipeline:
    return adm.load(
        folder / "d.safetensors", folder / "c.safetensors", weak=folder / "w.safetensors"
    )


def images(model: adm.Pipeline, **settings: Any) -> torch.Tensor:
    return model.sample("all:1", steps=4, **settings).images


def calls(generator: DiffusionGenerator) -> Cost:
    """Sample two images at once, and count the calls of all networks and the passes back."""
    network, classifier = list[str](), list[str]()
    model, weak, guide = generator.model, generator.weak, next(iter(generator.classifiers), None)
    denoising = [model.prepared(), model.perturbed(), *([] if weak is None else [weak.prepared()])]
    hooks = [each.register_forward_hook(lambda *_: network.append("")) for each in denoising]
    for each in denoising:
        hooks.append(each.register_full_backward_pre_hook(lambda *_: network.append("back")))
    if guide is not None:
        prepared = guide.prepared()
        hooks.append(prepared.register_forward_hook(lambda *_: classifier.append("")))
    for _ in generator.trajectory(torch.tensor([0, 1]), [0, 1]):
        pass
    for hook in hooks:
        hook.remove()
    return Cost(len(network), len(classifier))


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "unipc"])
@pytest.mark.parametrize("name", STRONG)
def test_without_effect_the_images_are_the_same_bytes(
    model: adm.Pipeline, sampler: str, name: str
) -> None:
    plain = images(model, sampler=sampler)
    idle = GUIDES[name](scale=0.0 if name == "attention" else 1.0)
    assert torch.equal(images(model, sampler=sampler, guide=idle), plain)
    assert model.job("all:1", guide=idle, steps=4).cost == Cost(4)


@pytest.mark.parametrize("name", STRONG)
def test_in_an_interval_between_two_levels_too(model: adm.Pipeline, name: str) -> None:
    """With levels 1, 8, 14 and 20: no level is in 2..3, so that the term is never evaluated."""
    inside = f"{STRONG[name]},interval=2-3"
    assert torch.equal(images(model, guide=inside), images(model))
    assert model.generator(steps=4, guide=inside).cost == Cost(4)


def by_hand(model: adm.Pipeline, generator: DiffusionGenerator) -> torch.Tensor:
    """The images of all three contrasts at once, from denoisers without thresholds."""
    assert isinstance(model.weaker, DiffusionModel)
    schedule, raw = generator.schedule, {"schedule": generator.schedule, "threshold": None}
    attentive = model.model.perturbed()
    contrasts = [
        Contrast(model.denoise(None, **raw), 2.0),
        Contrast(model.weaker.denoise(LABELS, **raw), 2.0),
        Contrast(model.denoise(LABELS, **raw, network=attentive), 4.0),
    ]
    guided = contrasted(model.denoise(LABELS, **raw), *contrasts)
    noise = generator.noise([0, 1, 2])
    sampler = generator.sampling.sampler
    denoise = thresholded(guided, clip, schedule)
    with torch.no_grad():
        *_, state = sampler(denoise, noise.start(), schedule, noise)
    return state.x


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_all_contrasts_add_up_and_their_sum_is_clipped(model: adm.Pipeline, sampler: str) -> None:
    generator = model.generator(sampler=sampler, steps=5, guide=[*STRONG.values()])
    *_, state = generator.trajectory(LABELS, [0, 1, 2])
    assert torch.equal(state.x, by_hand(model, generator))


FREE, WEAK = FreeGuide(scale=2.0), WeakGuide(scale=2.0)
ATTENTION, TERM = AttentionGuide(scale=2.0), ClassifierGuide(scale=2.0)
GUIDED: dict[str, tuple[Any, ...]] = {
    "not": (),
    "every fourth level": (replace(TERM, every=4),),
    "at every second level of an interval": (replace(TERM, interval=(4, 14), every=2),),
    "twice": (TERM, replace(TERM, interval=(4, 14))),
    "free": (FREE,),
    "every second, every third": (replace(FREE, every=2), replace(WEAK, every=3)),
    "all, and a classifier": (TERM, FREE, WEAK, ATTENTION),
    "free in an interval": (replace(TERM, every=2), replace(FREE, interval=(4, 14))),
}


@pytest.mark.parametrize("how", GUIDED)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_cost_is_the_number_of_calls_of_all_networks(
    model: adm.Pipeline, sampler: str, how: str
) -> None:
    settings = {"sampler": sampler, "steps": 6, "guide": GUIDED[how]}
    generator = model.generator(**settings)
    assert generator.cost == calls(generator)
    ahead = [generator.evaluations_of(step) for step in range(1, 7)]
    assert sum(ahead) == generator.evaluations == generator.cost.network


@pytest.mark.parametrize(
    ("how", "cost"),
    [
        ("not", Cost(6)),
        ("every fourth level", Cost(6, 2)),
        ("free", Cost(12)),
        ("every second, every third", Cost(11)),
        ("all, and a classifier", Cost(24, 6)),
        ("free in an interval", Cost(9, 3)),
    ],
)
def test_the_cost_of_ddim_is_known(model: adm.Pipeline, how: str, cost: Cost) -> None:
    """Levels 1, 5, 9, 12, 16 and 20: three of them are in 4..14, and three in 10..20."""
    assert model.generator(sampler="ddim", steps=6, guide=GUIDED[how]).cost == cost


def test_the_gradient_at_the_mean_costs_the_same(model: adm.Pipeline) -> None:
    generator = model.generator(sampler="ancestral:at_mean=true", steps=6, guide=TERM)
    assert generator.cost == calls(generator) == Cost(6, 6)


def test_the_cost_of_a_cascade_is_that_of_both_models(model: adm.Pipeline, folder: Path) -> None:
    larger = tiny.upsampler("data.size=16,16", "data.low_res=8,8")
    both = replace(model, upsampler=load_diffusion(tiny.model(folder / "u.safetensors", larger)))
    job = both.job("bag:2", scale=2.0, sampler="ddim", steps=6, upsampler_steps=5)
    assert job.cost == Cost(11, 6)
    assert job.evaluations == 2 * 11


def test_a_classifier_guides_the_contrasted_model_by_algorithm_1(model: adm.Pipeline) -> None:
    """At every step the mean is that of the contrasted model plus variance x gradient."""
    settings = {"sampler": "ancestral", "steps": 4}
    plain = model.generator(guide="free:scale=2", **settings)
    guided = model.generator(guide=["classifier:scale=2", "free:scale=2"], **settings)
    one, other = (next(iter(g.trajectory(LABELS, [0, 1, 2]))) for g in (guided, plain))
    assert isinstance(guided.sampling.sampler, Ancestral)
    assert model.classifier is not None
    noise = guided.noise([0, 1, 2]).start()
    pull = model.classifier.gradient(LABELS, guided.schedule)(noise, 4, other.prediction)
    moved = 2.0 * other.prediction.variance.value * pull
    torch.testing.assert_close(one.x - other.x, moved, rtol=0, atol=1e-5)


def test_the_manifest_names_the_weak_model_by_hash(model: adm.Pipeline, tmp_path: Path) -> None:
    settings = {"guide": ["weak:scale=3,interval=2-20", "free:scale=2"], "steps": 3}
    samples = model.sample("all:1", **settings)
    samples.save(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert isinstance(model.weaker, DiffusionModel)
    assert manifest["weak"] == identity(model.weaker)
    assert manifest["weak"]["sha256"] != manifest["model"]["sha256"]
    sampling = convert(Sampling, manifest["sampling"])
    assert sampling == model.generator(**settings).sampling
    assert convert(Sampling, json.loads(json.dumps(to_json(sampling)))) == sampling
    other: dict[str, Any]
    for other in ({"guide": "free:scale=2"}, {"scale": 1.0}, {}):
        assert "weak" not in model.job("all:1", **other).manifest()


def test_a_weak_model_is_loaded_when_it_is_needed(folder: Path, model: adm.Pipeline) -> None:
    path = folder / "d.safetensors"
    with pytest.raises(ValueError, match=r"none does not exist|no model 'none'"):
        adm.load(path, weak="none")
    loaded = adm.load(path, weak=load_diffusion(folder / "w.safetensors"))
    assert torch.equal(images(loaded, guide=STRONG["weak"]), images(model, guide=STRONG["weak"]))
    lazy = adm.load(path, weak=folder / "w.safetensors")
    images(lazy)
    assert "weaker" not in vars(lazy)


UNFIT = {
    "size": tiny.diffusion("data.size=16,16"),
    "process": tiny.diffusion("process.steps=25"),
    "labels": tiny.diffusion("unet.classes=null"),
    "upsampler": tiny.upsampler(),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_weak_model_of_other_images_is_refused(folder: Path, tmp_path: Path, what: str) -> None:
    other = tiny.model(tmp_path / "w.safetensors", UNFIT[what])
    model = adm.load(folder / "d.safetensors", weak=other)
    with pytest.raises(SettingError, match=r"^d has the .*, and w has .*; give a weaker model"):
        model.generator(guide="weak:scale=2")
    model.generator(guide="weak:scale=1")


LACKING: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "a weak model": ((DROPPED,), {"guide": "weak:scale=2"}, "weak"),
    "labels": ((DROPPED,), {"guide": "free:scale=2", "use_labels": False}, "use_labels"),
    "levels": ((DROPPED,), {"guide": "attention:scale=2,interval=3-21"}, "guide.interval"),
    "dropped labels": (("train.label_dropout=0",), {"guide": "free:scale=2"}, "guide"),
    "classes": (("unet.classes=null",), {"guide": "free:scale=2"}, "guide"),
    # Attention between 8 x 8 pixels, halved three times, is that of one pixel to itself.
    "positions": (
        ("unet.multipliers=1,1,2,2", "unet.attention_factors=2"),
        {"guide": "attention:scale=2"},
        "guide",
    ),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_guidance_lacks_is_said(tmp_path: Path, what: str) -> None:
    recipe, settings, field = LACKING[what]
    model = adm.load(tiny.model(tmp_path / "d.safetensors", tiny.diffusion(*recipe)))
    with pytest.raises(SettingError) as error:
        model.generator(**settings)
    assert error.value.field == field
