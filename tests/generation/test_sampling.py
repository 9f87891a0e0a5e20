"""Settings by name -> Sampling; a guide, the levels visited -> where and how strongly it guides."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from adm.diffusion import cosine
from adm.generation.resolve import fastest_precision, resolve
from adm.models.load import load_diffusion
from adm.samplers import (
    DDIM,
    GUIDES,
    Ancestral,
    AttentionGuide,
    ByGradient,
    ClassifierGuide,
    DDIMQuadratic,
    FreeGuide,
    Sampling,
    WeakGuide,
)

GUIDE = ClassifierGuide(scale=2.5, interval=(100, 800), every=2)
RICH = Sampling(
    sampler=DDIM(eta=0.25, clip_again=True),
    grid=DDIMQuadratic(steps=17, start=900),
    guide=(
        GUIDE,
        FreeGuide(scale=3.0, interval=(10, 600)),
        WeakGuide(scale=1.7),
        AttentionGuide(scale=0.5),
    ),
    use_labels=False,
    precision="bfloat16",
    seed=2**64 - 1,
    rounding="truncated",
)


def test_omitted_settings_stay_and_none_changes_nothing() -> None:
    assert RICH.change() == RICH
    assert RICH.change(steps=None, scale=None, sampler=None) == RICH
    assert RICH.change(sampler="ddim", grid="ddim-quadratic", steps=17) == RICH
    assert RICH.change(sampler="ddim:eta=0.5").sampler == DDIM(eta=0.5, clip_again=True)
    assert RICH.change(sampler="ancestral").sampler == Ancestral()
    changed = RICH.change(seed=3, steps=5)
    assert changed == replace(RICH, seed=3, grid=DDIMQuadratic(steps=5, start=900))


def test_a_scale_is_that_of_the_classifier_and_0_removes_it() -> None:
    assert RICH.change(scale=4.0).guide == (replace(GUIDE, scale=4.0), *RICH.guide[1:])
    assert RICH.change(scale=0.0).guide == RICH.guide[1:]
    assert Sampling().change(scale=1.5).guide == (ClassifierGuide(scale=1.5),)
    assert RICH.scale == 2.5
    assert replace(RICH, guide=RICH.guide * 2).scale == 5.0


def test_guides_replace_those_before_and_a_scale_is_added_to_them() -> None:
    assert RICH.change(guide="weak:scale=2").guide == (WeakGuide(scale=2.0),)
    assert RICH.change(guide="none").guide == RICH.change(guide=None).guide == ()
    both = Sampling().change(guide=["classifier:scale=1,every=2", FreeGuide(scale=1.5)], scale=3)
    assert both.guide == (ClassifierGuide(scale=3.0, every=2), FreeGuide(scale=1.5))


def test_contrasts_of_neutral_scale_are_inactive() -> None:
    contrasts = (FreeGuide, WeakGuide, AttentionGuide)
    assert Sampling(guide=tuple(k(scale=k.neutral) for k in contrasts)).by_contrast == ()
    active = tuple(k(scale=k.neutral - 1) for k in contrasts)
    assert Sampling(guide=active).by_contrast == active


def test_resolved_settings_do_not_change_again() -> None:
    model = load_diffusion("fashion")
    settings = model.recipe.sample.change(precision="auto")
    resolved = resolve(model, settings)
    assert resolved.precision == fastest_precision(model.device) != "auto"
    assert resolve(model, resolved) == resolved


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize(
    "levels",
    [
        [100, 400, 600, 900],
        [299, 300, 700, 701],
        [100, 900],
        [100.5, 299.999, 300.0, 512.25, 700.001],
    ],
)
def test_an_interval_of_the_models_levels_holds_at_any_number_of_steps(
    name: str, levels: list[float]
) -> None:
    guide: Any = GUIDES[name](scale=3.0, interval=(300, 700))
    evaluated: list[int] = []

    def gradient(x: torch.Tensor, level: int, prediction: object) -> torch.Tensor:
        evaluated.append(level)
        return x

    numbered = range(len(levels), 0, -1)
    if issubclass(GUIDES[name], ByGradient):
        applied = guide.apply(gradient, levels)
        for level in numbered:
            applied(torch.ones(1, 1, 2, 2), level, None)
    else:
        low, high = guide.apply(gradient, levels, cosine(1000)).interval
        evaluated = [level for level in numbered if low <= level <= high]
    expected = [i for i, level in enumerate(levels, start=1) if 300 <= level <= 700]
    assert evaluated == expected[::-1]


def applied_to_ones(guide: ClassifierGuide, levels: list[int]) -> dict[int, float]:
    """The guidance at each visited level, where the n-th evaluation of the gradient is all n."""
    evaluated: list[int] = []

    def gradient(x: torch.Tensor, level: int, prediction: object) -> torch.Tensor:
        evaluated.append(level)
        return len(evaluated) * torch.ones_like(x)

    x, applied = torch.zeros(1, 1, 2, 2), guide.apply(gradient, levels)  # type: ignore[arg-type]
    return {
        level: applied(x, level, None).mean().item()  # type: ignore[arg-type]
        for level in range(len(levels), 0, -1)
    }


def test_a_gradient_is_reused_from_the_first_level_of_the_interval() -> None:
    """Every second of the levels within is evaluated; the levels outside get none, uncounted."""
    guide = ClassifierGuide(scale=1.0, interval=(2, 4), every=2)
    assert applied_to_ones(guide, [1, 2, 3, 4, 5]) == {5: 0, 4: 1, 3: 1, 2: 2, 1: 0}
    assert applied_to_ones(replace(guide, every=1), [1, 2, 3, 4, 5])[2] == 3
