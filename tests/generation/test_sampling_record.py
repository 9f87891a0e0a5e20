"""Sampling <-> JSON, of every version; settings by name -> Sampling."""

import json
from dataclasses import fields, replace

import pytest
import torch

from adm.models.load import read
from adm.models.paths import SHIPPED
from adm.recipes import RECIPES, DiffusionRecipe, recipe
from adm.recipes.schema import from_json as recipe_from_json
from adm.recipes.schema import to_json as recipe_to_json
from adm.samplers import (
    DDIM,
    SAMPLERS,
    Ancestral,
    AttentionGuidance,
    ClassifierGuidance,
    FreeGuidance,
    Grid,
    Sampling,
    WeakGuidance,
)
from adm.samplers.words import changed, from_json, sampler_of, to_json

RICH = Sampling(
    sampler=DDIM(eta=0.25, clip_again=True),
    grid=Grid(steps=17, spacing="quadratic", start=900),
    guidance=(ClassifierGuidance(scale=2.5, interval=(100, 800), every=2, cap=3.0),),
    use_labels=False,
    precision="bfloat16",
    engine="openvino-int8",
    seed=2**64 - 1,
    rounding="truncated",
)

STEERED = replace(
    RICH,
    guidance=(
        *RICH.guidance,
        FreeGuidance(scale=3.0, interval=(10, 600)),
        WeakGuidance(scale=1.7),
        AttentionGuidance(scale=0.5, interval=(0, 900)),
    ),
)


@pytest.mark.parametrize(
    "sampling", [Sampling(), RICH, STEERED], ids=["default", "rich", "steered"]
)
def test_a_record_comes_back_from_json_as_it_was(sampling: Sampling) -> None:
    assert from_json(json.loads(json.dumps(to_json(sampling)))) == sampling


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_stored_with_its_parameters(name: str) -> None:
    sampler = SAMPLERS[name]()
    stored = to_json(replace(RICH, sampler=sampler))
    assert stored["sampler"].keys() == {field.name for field in fields(sampler)}
    assert from_json(stored).sampler == sampler


def test_settings_of_a_recipe_before_are_read_as_the_same() -> None:
    before = {"sampler": "ddim", "steps": 25, "spacing": "even", "start": 980}
    assert from_json(before) == Sampling(sampler=DDIM(), grid=Grid(steps=25, start=980))
    assert from_json({"steps": 100}) == Sampling(grid=Grid(steps=100))
    assert from_json({"sampler": "ddim", "eta": 0.5}).sampler == DDIM(eta=0.5)
    assert from_json({"steps": 100, "at_mean": True}).sampler == Ancestral(at_mean=True)


def test_the_shipped_models_carry_the_settings_of_their_recipes() -> None:
    chosen = [read(path)[2] for path in SHIPPED.glob("*.safetensors")]
    diffusion = [each for each in chosen if isinstance(each, DiffusionRecipe)]
    assert diffusion
    for each in diffusion:
        assert each.sample == recipe(each.name).sample


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_holds_the_earlier_form_is_the_same_recipe(name: str) -> None:
    now = RECIPES[name]()
    if not isinstance(now, DiffusionRecipe):
        return
    stored, grid = recipe_to_json(now), now.sample.grid
    stored["sample"] = {
        "sampler": now.sample.sampler.name,
        "steps": grid.steps,
        "spacing": grid.spacing,
        "start": grid.start,
    }
    # It had no precision, and was sampled in float32; and no end.
    sample = replace(now.sample, grid=replace(grid, end=None), precision="float32")
    earlier = replace(now, sample=sample)
    assert recipe_from_json(stored) == earlier


def test_what_is_not_given_stays_and_none_changes_nothing() -> None:
    assert changed(RICH) == RICH
    assert changed(RICH, steps=None, eta=None, scale=None, sampler=None) == RICH
    assert changed(RICH, sampler="ddim") == RICH
    assert changed(RICH, sampler="ancestral").sampler == Ancestral()
    assert changed(RICH, seed=3, steps=5) == replace(
        RICH, seed=3, grid=Grid(steps=5, spacing="quadratic", start=900)
    )


def test_a_scale_keeps_where_the_guidance_is_and_0_removes_it() -> None:
    assert changed(RICH, scale=4.0).guidance == (replace(RICH.guidance[0], scale=4.0),)
    assert changed(RICH, scale=0.0).guidance == ()
    assert changed(Sampling(), scale=1.5).guidance == (ClassifierGuidance(scale=1.5),)
    assert RICH.scale == 2.5
    assert replace(RICH, guidance=RICH.guidance * 2).scale == 5.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, r"seed must be in 0\.\.2\^64 - 1, got -1"),
        ({"seed": 2**64}, r"seed must be in 0\.\.2\^64 - 1"),
        ({"precision": "float8"}, "precision must be 'float32', .*'float16' or 'auto', got"),
        ({"spacing": "odd"}, "spacing 'odd' is unknown; use even or strided"),
        ({"stps": 3}, "unknown sampling setting 'stps'; did you mean steps"),
        ({"use_labels": "maybe"}, "use_labels must be a valid boolean"),
        ({"guidance": (ClassifierGuidance(scale=1.0, every=0),)}, "every must be greater than"),
        ({"guidance": (ClassifierGuidance(scale=1.0, cap=0.0),)}, "cap must be greater than 0"),
        ({"scale": 1, "guide_every": 0}, "guide_every must be greater than or equal to 1, got 0"),
        ({"scale": 1, "guide_cap": float("nan")}, "guide_cap must be a finite number, got nan"),
        ({"scale": 1, "guide_on": "x"}, "guide_on must be 'x_t', 'x_0' or 'x_0_through_network'"),
        ({"scale": 1, "guide_interval": (7, 3)}, "lower one first, got 7 and 3; give .* 100,700"),
        ({"scale": 1, "guide_interval": (-1, 3)}, "the lower one first, got -1 and 3"),
        ({"scale": 1, "guide_interval": (1, 2, 3)}, "guide_interval must have at most 2 items"),
        ({"scale": 1, "guide_interval": (1,)}, "guide_interval lacks a value"),
        ({"scale": 1, "guide_temperatures": (1, -1)}, "guide_temperatures must be greater than"),
        ({"guide_every": 2}, r"guide_every needs guidance; pass a scale=\.\.\. other than 0"),
        ({"scale": 0, "guide_cap": 2.0}, "guide_cap needs guidance"),
        ({"guide_cap": 2.0, "guidance": ()}, r"pass guide_cap=\.\.\. or guidance=\.\.\., not both"),
        ({"free_scale": "x"}, "free_scale must be a valid number, got 'x'"),
        ({"weak_scale": float("inf")}, "weak_scale must be a finite number, got inf"),
        ({"free_scale": 2, "free_interval": (7, 3)}, "lower one first, got 7 and 3"),
        ({"attention_scale": 2, "attention_interval": (-1, 3)}, "first, got -1 and 3; give them"),
        ({"weak_scale": 2, "weak_interval": (1, 2, 3)}, "weak_interval must have at most 2 items"),
        (
            {"free_interval": (1, 2)},
            r"free_interval needs a scale; pass a free_scale=\.\.\. other than 1",
        ),
        (
            {"attention_scale": 0, "attention_interval": (1, 2)},
            r"attention_scale=\.\.\. other than 0",
        ),
        ({"free_scale": 2, "guidance": ()}, r"pass free_scale=\.\.\. or guidance=\.\.\., not both"),
        (
            {"guidance": [{"name": "fre", "scale": 2}]},
            "guidance 'fre' is unknown; the terms are cl",
        ),
        ({"guidance": [{"name": "free"}]}, "free_scale lacks a value"),
        ({"free_scael": 2}, "unknown sampling setting 'free_scael'; did you mean free_scale"),
        (
            {"scale": 1, "guide_evry": 2},
            "unknown sampling setting 'guide_evry'; did you mean guide_every",
        ),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_name(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(Sampling(), **changes)


def test_guidance_is_set_by_the_names_of_its_fields() -> None:
    found = changed(Sampling(), scale=2.0, guide_interval=(100, 700), guide_every=2, guide_cap=3)
    assert found.guidance == (ClassifierGuidance(scale=2.0, interval=(100, 700), every=2, cap=3.0),)
    assert changed(found, guide_every=1).guidance == (replace(found.guidance[0], every=1),)
    of_x_0 = changed(RICH, guide_on="x_0", guide_temperatures=(1, 0.5)).guidance
    assert of_x_0 == (replace(RICH.guidance[0], on="x_0", temperatures=(1.0, 0.5)),)
    for term in (*found.guidance, *of_x_0):
        term.check(800)
        with pytest.raises(
            ValueError, match=r"within levels 0\.\.699 of the model's process, got 100"
        ):
            term.check(699)


def test_contrasts_are_set_by_name_and_removed_where_they_change_nothing() -> None:
    found = changed(Sampling(), free_scale=2, weak_scale=1.5, attention_scale=1)
    free, weak, attention = found.guidance
    assert free == FreeGuidance(scale=2.0)
    assert weak == WeakGuidance(scale=1.5)
    assert attention == AttentionGuidance(scale=1.0)
    inside = changed(found, free_interval=(1, 5), scale=2.0)
    assert inside.guidance == (
        ClassifierGuidance(scale=2.0),
        FreeGuidance(scale=2.0, interval=(1, 5)),
        weak,
        attention,
    )
    assert changed(inside, free_scale=4).by_contrast[0] == FreeGuidance(scale=4.0, interval=(1, 5))
    assert changed(found, free_scale=1, weak_scale=1, attention_scale=0).guidance == ()
    assert changed(STEERED, scale=0.0).guidance == STEERED.guidance[1:]
    assert changed(STEERED, guide_every=3).by_contrast == STEERED.by_contrast
    assert STEERED.scale == RICH.scale


def test_what_changes_nothing_by_its_scale_takes_no_part() -> None:
    idle = (FreeGuidance(scale=1.0), WeakGuidance(scale=1.0), AttentionGuidance(scale=0.0))
    assert Sampling(guidance=idle).by_contrast == ()
    active = (FreeGuidance(scale=0.0), WeakGuidance(scale=0.0), AttentionGuidance(scale=1.0))
    assert Sampling(guidance=active).by_contrast == active


def test_terms_without_a_name_are_those_of_a_classifier() -> None:
    assert from_json({"guidance": [{"scale": 2.0}]}).guidance == (ClassifierGuidance(scale=2.0),)


@pytest.mark.parametrize("values", [{"sampler": {"name": "euler"}}, {"sampler": 3}, {"grid": []}])
def test_values_that_are_no_record_are_refused_with_one_line(values: dict) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        from_json(values)


def test_a_spec_names_a_sampler_and_its_parameters() -> None:
    assert sampler_of("ddim:eta=0.5") == DDIM(eta=0.5)
    assert sampler_of(" ddim : clip_again ") == DDIM(clip_again=True)
    assert sampler_of("ddim", DDIM(eta=0.5)) == DDIM(eta=0.5)
    with pytest.raises(ValueError, match=r"sampler 'dim' is unknown; did you mean ddim\?"):
        sampler_of("dim")
    with pytest.raises(ValueError, match="eta must be in"):
        sampler_of("ddim:eta=2")


FRACTIONAL = [100.5, 299.999, 300.0, 512.25, 700.001]


def test_an_interval_of_the_models_levels_holds_at_any_number_of_steps() -> None:
    term = ClassifierGuidance(scale=1.0, interval=(300, 700))
    for levels in (
        [100, 400, 600, 900],
        [250, 500, 750, 1000],
        [299, 300, 700, 701],
        [100, 900],
        FRACTIONAL,
    ):
        asked: list[int] = []

        def gradient(x, level, prediction, asked=asked):  # type: ignore[no-untyped-def]
            asked.append(level)
            return x

        x = torch.ones(1, 1, 2, 2)
        applied = term.applied(gradient, levels)
        for level in range(len(levels), 0, -1):
            applied(x, level, None)  # type: ignore[arg-type]
        wanted = [i for i, level in enumerate(levels, start=1) if 300 <= level <= 700]
        assert asked == wanted[::-1]


def applied_to_ones(term: ClassifierGuidance, levels: list[int]) -> dict[int, float]:
    """The guidance that each visited level gets of a gradient of ones, counted up by visits."""
    asked: list[int] = []

    def gradient(x, level, prediction):  # type: ignore[no-untyped-def]
        asked.append(level)
        return len(asked) * torch.ones_like(x)

    x, applied = torch.zeros(1, 1, 2, 2), term.applied(gradient, levels)
    return {
        level: applied(x, level, None).mean().item()  # type: ignore[arg-type]
        for level in range(len(levels), 0, -1)
    }


def test_a_cap_limits_the_scaled_gradient() -> None:
    """Four ones have length 2: 3 times them 6, so that a cap of 4 leaves 2 each."""
    assert applied_to_ones(ClassifierGuidance(scale=3.0, cap=4.0), [1])[1] == pytest.approx(2)
    assert applied_to_ones(ClassifierGuidance(scale=3.0, cap=7.0), [1])[1] == pytest.approx(3)


def test_a_gradient_is_reused_from_the_first_level_of_the_interval() -> None:
    """Every second of the levels within is evaluated; the levels outside get none, uncounted."""
    term = ClassifierGuidance(scale=1.0, interval=(2, 4), every=2)
    assert applied_to_ones(term, [1, 2, 3, 4, 5]) == {5: 0, 4: 1, 3: 1, 2: 2, 1: 0}
    assert applied_to_ones(replace(term, every=1), [1, 2, 3, 4, 5])[2] == 3
