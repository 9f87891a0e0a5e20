"""Shipped names -> models that load, have the recipe of their name, and make the same images."""

from dataclasses import replace

import pytest
import torch

import adm
from adm.models.load import load_any, read
from adm.models.paths import SHIPPED
from adm.recipes import ClassifierRecipe, recipe

NAMES = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))
RECIPES = {name: read(name)[2] for name in NAMES}
GENERATIVE = [name for name, chosen in RECIPES.items() if not isinstance(chosen, ClassifierRecipe)]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_loads_and_has_the_network_of_its_recipe(name: str) -> None:
    model = load_any(name)
    expected = recipe(model.recipe.name)
    assert model.recipe.kind == expected.kind
    # fashion-unlabelled is fashion, trained without labels, and sampled in fewer steps.
    assert replace(model.recipe.config, classes=expected.config.classes) == expected.config
    assert all(p.isfinite().all() for p in model.network.parameters())
    if name != "fashion-unlabelled" and not isinstance(expected, ClassifierRecipe):
        assert not isinstance(model.recipe, ClassifierRecipe)
        assert model.recipe.sample == expected.sample


@pytest.mark.parametrize("name", GENERATIVE)
def test_the_same_call_makes_the_same_images_of_some_contrast(name: str) -> None:
    model = adm.load(name, device="cpu")
    settings, low = {"steps": 4}, model.model.low_shape  # students know 4
    if low is not None:
        ramp = torch.linspace(0, 255, low[-1]).to(torch.uint8)
        settings["inputs"] = ramp.expand(2, *low)
    images = [model.sample(count=2, seed=3, **settings).images for _ in range(2)]
    assert torch.equal(*images)
    assert images[0].shape == (2, *model.shape)
    assert images[0].float().std() > 5
