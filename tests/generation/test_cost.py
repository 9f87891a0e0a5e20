"""Sampling -> Cost: the calls of both networks that sampling really makes."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from numbered import Numbered

from adm.generation.cascade import cascade
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import Cost
from adm.generation.job import Job
from adm.models.load import load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import DDIM, SAMPLERS, Ancestral, ClassifierGuide, Even, Sampling
from adm.spec import SettingError

BASE = Sampling(sampler=DDIM(), grid=Even(steps=6), seed=3)
TERM = ClassifierGuide(scale=2.0)
THROUGH = replace(TERM, on="x_0_through_network")
GUIDED: dict[str, tuple[ClassifierGuide, ...]] = {
    "not": (),
    "every fourth level, capped": (replace(TERM, every=4, cap=0.5),),
    "at every second level of an interval": (replace(TERM, interval=(4, 14), every=2),),
    "on x_0": (replace(TERM, on="x_0"),),
    "through the network, every third level": (replace(THROUGH, every=3),),
    "twice": (TERM, replace(TERM, interval=(4, 14))),
}


def calls(generator: DiffusionGenerator) -> Cost:
    """Sample two images at once, and count the calls of both networks."""
    network, classifier = [], []
    model, guide = generator.model.prepared(), generator.classifier
    hooks = [
        model.register_forward_hook(lambda *_: network.append("forward")),
        model.register_full_backward_pre_hook(lambda *_: network.append("backward")),
    ]
    if guide is not None:
        prepared = guide.prepared()
        hooks.append(prepared.register_forward_hook(lambda *_: classifier.append("forward")))
    for _ in generator.trajectory(torch.tensor([0, 1]), [0, 1]):
        pass
    for hook in hooks:
        hook.remove()
    return Cost(len(network), len(classifier))


@pytest.mark.parametrize("how", GUIDED)
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_cost_is_the_number_of_calls(
    model: DiffusionModel, guide: ClassifierModel, name: str, how: str
) -> None:
    sampling = replace(BASE, sampler=SAMPLERS[name](), guide=GUIDED[how])
    if name == "splitting" and "x_0" in str([term.on for term in sampling.by_classifier]):
        with pytest.raises(SettingError, match=r"^splitting takes the gradient .* guidance on x_0"):
            DiffusionGenerator(model, sampling, guide)
        return
    generator = DiffusionGenerator(model, sampling, guide)
    assert generator.cost == calls(generator)


@pytest.mark.parametrize(
    ("how", "cost"),
    [
        ("not", Cost(6)),
        ("every fourth level, capped", Cost(6, 2)),
        ("on x_0", Cost(6, 6)),
        ("through the network, every third level", Cost(8, 2)),
    ],
)
def test_the_cost_of_ddim_is_known(
    model: DiffusionModel, guide: ClassifierModel, how: str, cost: Cost
) -> None:
    assert DiffusionGenerator(model, replace(BASE, guide=GUIDED[how]), guide).cost == cost


def test_the_gradient_at_the_mean_costs_the_same(
    model: DiffusionModel, guide: ClassifierModel
) -> None:
    at_mean = replace(BASE, sampler=Ancestral(at_mean=True), guide=(TERM,))
    generator = DiffusionGenerator(model, at_mean, guide)
    assert generator.cost == calls(generator) == Cost(6, 6)


def test_the_cost_of_a_cascade_is_that_of_both_models(
    model: DiffusionModel, guide: ClassifierModel, folder: Path
) -> None:
    larger = load_diffusion(
        tiny.model(folder / "u.safetensors", tiny.upsampler("data.size=16,16", "data.low_res=8,8"))
    )
    base = DiffusionGenerator(model, replace(BASE, guide=(TERM,)), guide)
    assert base.cost == Cost(6, 6)
    job = Job(cascade(base, larger, [0, 1], 5), [0, 1], 2)
    assert job.cost == Cost(11, 6)
    assert job.evaluations == 2 * 11


def test_the_cost_of_another_generator_is_what_it_says() -> None:
    assert Job(Numbered(cost=Cost(7)), None, 2).cost == Cost(7)
