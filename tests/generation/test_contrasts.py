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
from adm.generation.manifest import read_manifest
from adm.guidance import Contrast, contrasted, thresholded
from adm.models.engines import perturbed_by
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel
from adm.samplers import (
    SAMPLERS,
    Ancestral,
    AttentionGuidance,
    ClassifierGuidance,
    FreeGuidance,
    WeakGuidance,
)
from adm.samplers.words import from_json, to_json

DROPPED = "train.label_dropout=0.1"
LABELS = torch.tensor([0, 1, 2])
STRONG: dict[str, dict[str, float]] = {
    "free": {"free_scale": 3.0},
    "weak": {"weak_scale": 3.0},
    "attention": {"attention_scale": 4.0},
}
NEUTRAL = {"free_scale": 1.0, "weak_scale": 1.0, "attention_scale": 0.0}


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


def calls(generator: DiffusionGenerator) -> int:
    """Sample two images at once, and count the calls of all networks and the passes back."""
    found: list[str] = []
    model, weak = generator.model, generator.weak
    networks = [model.prepared(), model.perturbed(), *([] if weak is None else [weak.prepared()])]
    hooks = [each.register_forward_hook(lambda *_: found.append("forward")) for each in networks]
    hooks += [
        each.register_full_backward_pre_hook(lambda *_: found.append("back")) for each in networks
    ]
    for _ in generator.trajectory(torch.tensor([0, 1]), [0, 1]):
        pass
    for hook in hooks:
        hook.remove()
    return len(found)


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "unipc"])
@pytest.mark.parametrize("name", NEUTRAL)
def test_without_effect_the_images_are_the_same_bytes(
    model: adm.Pipeline, sampler: str, name: str
) -> None:
    plain = images(model, sampler=sampler)
    assert torch.equal(images(model, sampler=sampler, **{name: NEUTRAL[name]}), plain)
    kind = {"free": FreeGuidance, "weak": WeakGuidance, "attention": AttentionGuidance}
    term = kind[name.removesuffix("_scale")](scale=NEUTRAL[name])
    assert torch.equal(images(model, sampler=sampler, guidance=(term,)), plain)
    assert model.job("all:1", guidance=(term,), steps=4).cost == Cost(4)


@pytest.mark.parametrize("name", STRONG)
def test_in_an_interval_between_two_levels_too(model: adm.Pipeline, name: str) -> None:
    """With levels 1, 8, 14 and 20: no level is in 2..3, so that the term is never evaluated."""
    inside = {f"{name}_interval": (2, 3)}
    assert torch.equal(images(model, **STRONG[name], **inside), images(model))
    assert model.generator(steps=4, **STRONG[name], **inside).cost == Cost(4)


def by_hand(model: adm.Pipeline, generator: DiffusionGenerator) -> torch.Tensor:
    """The images of all three contrasts at once, from denoisers without thresholds."""
    assert isinstance(model.weaker, DiffusionModel)
    schedule, raw = generator.schedule, {"schedule": generator.schedule, "threshold": None}
    attentive = perturbed_by("torch", model.model, "float32")
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
    settings = STRONG["free"] | STRONG["weak"] | STRONG["attention"]
    generator = model.generator(sampler=sampler, steps=5, **settings)
    *_, state = generator.trajectory(LABELS, [0, 1, 2])
    assert torch.equal(state.x, by_hand(model, generator))


@pytest.mark.parametrize("name", STRONG)
def test_each_contrast_changes_the_images(model: adm.Pipeline, name: str) -> None:
    assert not torch.equal(images(model, **STRONG[name]), images(model))


FREE, WEAK = FreeGuidance(scale=2.0), WeakGuidance(scale=2.0)
ATTENTION, TERM = AttentionGuidance(scale=2.0), ClassifierGuidance(scale=2.0)
GUIDED: dict[str, tuple[Any, ...]] = {
    "free": (FREE,),
    "weak": (WEAK,),
    "attention": (ATTENTION,),
    "all, and a classifier": (TERM, FREE, WEAK, ATTENTION),
    "in intervals": (replace(FREE, interval=(4, 14)), replace(ATTENTION, interval=(10, 20))),
    "through the networks": (replace(TERM, on="x_0_through_network"), FREE, WEAK),
    "through some": (
        replace(TERM, on="x_0_through_network", every=2),
        replace(FREE, interval=(4, 14)),
    ),
}


@pytest.mark.parametrize("how", GUIDED)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_cost_is_the_number_of_calls_of_all_networks(
    model: adm.Pipeline, sampler: str, how: str
) -> None:
    if sampler == "splitting" and "through" in how:
        return
    generator = model.generator(sampler=sampler, steps=6, guidance=GUIDED[how])
    assert generator.cost.network == calls(generator)
    ahead = [generator.evaluated(step) for step in range(1, 7)]
    assert sum(ahead) == generator.evaluations
    if "through" not in how:
        assert generator.evaluations == generator.cost.network


@pytest.mark.parametrize(
    ("how", "cost"),
    [
        ("free", Cost(12)),
        ("all, and a classifier", Cost(24, 6)),
        ("in intervals", Cost(12)),
        ("through the networks", Cost(36, 6)),
        ("through some", Cost(14, 3)),
    ],
)
def test_the_cost_of_ddim_is_known(model: adm.Pipeline, how: str, cost: Cost) -> None:
    """Levels 1, 5, 9, 12, 16 and 20: three of them are in 4..14, and three in 10..20."""
    assert model.generator(sampler="ddim", steps=6, guidance=GUIDED[how]).cost == cost


def test_progress_is_told_of_all_evaluations(model: adm.Pipeline) -> None:
    told: list[int] = []
    settings = STRONG["free"] | {"free_interval": (4, 14)}
    job = model.job("all:1", steps=6, **settings)
    model.sample("all:1", steps=6, on_step=told.append, **settings)
    assert sum(told) == job.evaluations == 3 * 9


def test_a_classifier_guides_the_contrasted_model_by_algorithm_1(model: adm.Pipeline) -> None:
    """At every step the mean is that of the contrasted model plus variance x gradient."""
    settings = {"sampler": "ancestral", "steps": 4, "free_scale": 2.0}
    guided, plain = model.generator(scale=2.0, **settings), model.generator(**settings)
    one, other = (next(iter(g.trajectory(LABELS, [0, 1, 2]))) for g in (guided, plain))
    assert isinstance(guided.sampling.sampler, Ancestral)
    assert model.classifier is not None
    noise = guided.noise([0, 1, 2]).start()
    pull = model.classifier.gradient(LABELS, guided.schedule)(noise, 4, other.prediction)
    moved = 2.0 * other.prediction.variance.value * pull
    torch.testing.assert_close(one.x - other.x, moved, rtol=0, atol=1e-5)


def test_the_manifest_names_the_weak_model_by_hash(model: adm.Pipeline, tmp_path: Path) -> None:
    settings = {**STRONG["weak"], "weak_interval": (2, 20), "free_scale": 2.0, "steps": 3}
    made = model.sample("all:1", **settings)
    made.save(tmp_path / "out")
    found = read_manifest(tmp_path / "out")
    assert found is not None
    assert isinstance(model.weaker, DiffusionModel)
    assert found["weak"] == identity(model.weaker)
    assert found["weak"]["sha256"] != found["model"]["sha256"]
    sampling = from_json(found["sampling"])
    assert sampling == model.generator(**settings).sampling
    assert from_json(json.loads(json.dumps(to_json(sampling)))) == sampling
    assert {term.name for term in sampling.guidance} == {"free", "weak"}
    for other in ({"free_scale": 2.0}, {"scale": 1.0}, {}):
        assert "weak" not in model.job("all:1", **other).manifest()


def test_a_weak_model_is_loaded_when_it_is_needed(folder: Path, model: adm.Pipeline) -> None:
    path = folder / "d.safetensors"
    with pytest.raises(ValueError, match=r"none does not exist|no model 'none'"):
        adm.load(path, weak="none")
    given = adm.load(path, weak=load_diffusion(folder / "w.safetensors"))
    assert torch.equal(images(given, **STRONG["weak"]), images(model, **STRONG["weak"]))
    lazy = adm.load(path, weak=folder / "w.safetensors")
    images(lazy)
    assert "weaker" not in vars(lazy)


UNFIT: dict[str, tuple[tuple[str, ...], str]] = {
    "size": (("data.size=16,16",), r"images of \(1, 16, 16\) and the model has \(1, 8, 8\)"),
    "process": (("process.steps=25",), r"T = 25 and the model has 20"),
    "schedule": (("process.schedule=linear",), "the noise schedule linear and the model has"),
    "labels": (("unet.classes=null",), r"the classes \(\) and the model has \('sneaker', "),
    "rescaled": (("process.rescale_steps=true",), "rescaled timesteps True and the model has F"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_weak_model_of_other_images_is_refused(folder: Path, tmp_path: Path, what: str) -> None:
    settings, message = UNFIT[what]
    other = tiny.model(tmp_path / "w.safetensors", tiny.diffusion(*settings))
    model = adm.load(folder / "d.safetensors", weak=other)
    with pytest.raises(ValueError, match=message + r".*; pass weak=\.\.\. of the same data"):
        model.generator(weak_scale=2.0)
    model.generator(weak_scale=1.0)


def test_an_upsampler_is_no_weak_model(folder: Path, tmp_path: Path) -> None:
    larger = tiny.model(tmp_path / "u.safetensors", tiny.upsampler())
    model = adm.load(folder / "d.safetensors", weak=larger)
    with pytest.raises(ValueError, match=r"low-resolution images of \(1, 4, 4\) and the model has"):
        model.generator(weak_scale=2.0)


def test_what_guidance_lacks_is_said_with_the_cure(folder: Path, tmp_path: Path) -> None:
    dropped = adm.load(folder / "d.safetensors")
    with pytest.raises(ValueError, match=r"weak_scale 2 needs a weak model; pass weak=\.\.\."):
        dropped.generator(weak_scale=2.0)
    with pytest.raises(ValueError, match=r"the label that use_labels=False withholds; leave one"):
        dropped.generator(free_scale=2.0, use_labels=False)
    with pytest.raises(ValueError, match=r"free_scale=\.\.\. needs classes to guide to; pass cl"):
        next(dropped.generator(free_scale=2.0).trajectory(None, [0]))
    with pytest.raises(ValueError, match=r"within levels 0\.\.20 of the model's process, got 3"):
        dropped.generator(attention_scale=2.0, attention_interval=(3, 21))
    always = adm.load(folder / "w.safetensors")
    with pytest.raises(ValueError, match=r"without label dropout.* or train with train\.label_dr"):
        always.generator(free_scale=2.0)
    never = tiny.model(tmp_path / "n.safetensors", tiny.diffusion("unet.classes=null"))
    with pytest.raises(ValueError, match=r"takes no labels.*; leave it out, or pass attention_sc"):
        adm.load(never).generator(free_scale=2.0)
    adm.load(never).generator(attention_scale=2.0)


def test_attention_of_one_position_is_refused(tmp_path: Path) -> None:
    """Attention between 8 x 8 pixels, halved three times, is that of one pixel to itself."""
    narrow = ("unet.multipliers=1,1,2,2", "unet.attention_factors=2")
    path = tiny.model(tmp_path / "d.safetensors", tiny.diffusion(*narrow))
    model = adm.load(path)
    with pytest.raises(ValueError, match=r"are one pixel, which can attend to itself alone, so"):
        model.generator(attention_scale=2.0)
    images(model, attention_scale=0.0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_perturbed_copy_goes_with_the_network(folder: Path, precision: str) -> None:
    model = load_diffusion(folder / "d.safetensors")
    copy = model.perturbed(precision)
    assert model.perturbed(precision) is copy
    assert perturbed_by("torch", model, precision) is copy  # type: ignore[arg-type]
    model.release(precision)
    assert model.perturbed(precision) is not copy


@pytest.mark.slow  # compiles four networks
@pytest.mark.parametrize("engine", ["openvino", "openvino-int8"])
def test_openvino_contrasts_as_torch_does(model: adm.Pipeline, engine: str) -> None:
    pytest.importorskip("openvino")
    settings: dict[str, Any] = {"steps": 3, "sampler": "ddim", "attention_scale": 3.0}
    *_, wanted = model.generator(**settings).trajectory(LABELS, [0, 1, 2])
    *_, found = model.generator(**settings, engine=engine).trajectory(LABELS, [0, 1, 2])
    error = float((found.x - wanted.x).square().mean().sqrt())
    assert error < (1e-4 if engine == "openvino" else 0.1)
