"""name -> recipe: each builds and round-trips through JSON; the paper's ablation, by settings."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from adm.data import Source
from adm.networks import Classifier, HeadCount, UNet
from adm.recipes import RECIPES, DiffusionRecipe, build, recipe
from adm.recipes.paper import imagenet128_ablated
from adm.recipes.schema import from_json, override
from adm.runs.data import check_source
from adm.spec import to_json

MILLIONS = {  # parameters (paper, Tables 11 to 13)
    "64x64-diffusion": 296,
    "128x128-diffusion": 422,
    "256x256-diffusion": 554,
    "512x512-diffusion": 559,
    "lsun-bedroom": 552,
    "64-256-upsampler": 312,
    "128-512-upsampler": 309,
    "64x64-classifier": 65,
    "128x128-classifier": 43,
    "256x256-classifier": 54,
    "512x512-classifier": 54,
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_known_by_its_own_name_and_builds_its_network(name: str) -> None:
    chosen = recipe(name)
    assert chosen.name == name
    assert RECIPES[name].__doc__
    build.check(chosen)
    with torch.device("meta"):
        network = build.network(chosen)
        if name in MILLIONS:  # LSUN's has 552.8, which the paper truncates
            count = sum(p.numel() for p in network.parameters())
            assert count / 1e6 == pytest.approx(MILLIONS[name], abs=1)
        x_t = torch.zeros(2, chosen.data.channels, *chosen.data.size)
        step = torch.zeros(2)
        if isinstance(network, UNet):
            assert isinstance(chosen, DiffusionRecipe)
            label = torch.zeros(2, dtype=torch.int64) if chosen.unet.classes else None
            small = chosen.data.low_res
            low_res = None if small is None else torch.zeros(2, chosen.data.channels, *small)
            inputs = len(chosen.unet.conditions)
            conditions = torch.zeros(2, inputs) if inputs else None
            raw = network(x_t, step, label, low_res, conditions)
            assert raw.shape == (2, chosen.unet.out_channels, *chosen.data.size)
        else:
            assert isinstance(network, Classifier)
            assert network(x_t, step).shape == (2, network.config.classes)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_json(name: str) -> None:
    chosen = recipe(name)
    assert from_json(json.loads(json.dumps(to_json(chosen)))) == chosen


def ablation() -> dict[str, DiffusionRecipe]:
    """The rows that a page lists, by their settings."""
    page = (Path(__file__).parents[2] / "docs/reference/recipes.md").read_text("utf-8")
    rows = dict[str, DiffusionRecipe]()
    for row, table, cell in re.findall(r"^\| (.+) \| Table ([123]) \| (.+`) \|$", page, re.M):
        base = rows["base, Table 1"] if "those of the base" in cell else imagenet128_ablated()
        if table != "1":
            base = override(base, ["train.steps=700000", "unet.channels=128"])
        first, *others = re.findall(r"`([^`]+)`", cell)
        for settings in (first, *(f"{first.partition('=')[0]}={value}" for value in others)):
            chosen = override(base, settings.split())
            number = f" {settings.partition('=')[2]}" if others else ""
            rows[f"{row.partition(':')[0]}{number}, Table {table}"] = chosen
    return rows


def test_the_ablation_of_the_paper_is_a_recipe_with_the_settings_on_its_page() -> None:
    rows = ablation()
    assert len(rows) == 15
    base, best = rows["base, Table 1"].unet, imagenet128_ablated().unet
    first = {"heads": HeadCount(1), "attention_factors": (8,), "resampling": "convolution"}
    assert base == dataclasses.replace(best, **first)
    assert rows["1 head, Table 2"].unet == dataclasses.replace(
        best, heads=HeadCount(1), channels=128
    )
    added = rows["addition and normalization, Table 3"].unet
    assert dataclasses.replace(added, adaptive_norm=True) == rows["AdaGN, Table 3"].unet
    assert rows["AdaGN, Table 3"].unet == rows["32, 64, 128 channels a head 64, Table 2"].unet
    for name, millions in (("base, Table 1", 140.8), ("depth 4, Table 1", 146.2)):
        with torch.device("meta"):
            network = build.network(rows[name])
        count = sum(p.numel() for p in network.parameters())
        assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_best_of_the_ablation_is_that_of_the_paper() -> None:
    unet = imagenet128_ablated().unet
    assert (unet.channels, unet.depth, unet.heads) == (160, 2, HeadCount(4))
    assert [128 // factor for factor in unet.attention_factors] == [32, 16, 8]
    assert (unet.resampling, unet.rescale_residual, unet.adaptive_norm) == ("biggan", False, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashon", r"no recipe 'fashon'; did you mean fashion"),
        ("digits-clasifier", r"did you mean digits-classifier"),
        ("xyz", r"did you mean one that `adm recipes` lists"),
    ],
)
def test_an_unknown_recipe_is_named_with_those_that_are_near(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(name)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("unet", "colour"), 3, r"unknown setting unet\.colour"),
        (("train", "steps"), "many", r"train\.steps must be a whole number, got 'many'"),
    ],
)
def test_json_of_other_things_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    values = to_json(tiny.diffusion())
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        from_json(values)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (tiny.stripes(channels=3), r"\(3, 8, 8\), and the recipe needs"),
        (
            dataclasses.replace(tiny.stripes(), classes=("a", "b")),
            "for 3 classes, and stripes has 2; set unet.classes=2",
        ),
        (dataclasses.replace(tiny.stripes(), labels=torch.empty(0)), "no images"),
    ],
)
def test_data_that_do_not_fit_the_recipe_are_refused(source: Source, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_source(tiny.diffusion(), source)
    check_source(tiny.diffusion(), tiny.stripes())
