"""Recipes, fields and specs of others -> a recipe whose network can be described, or one line."""

from collections.abc import Callable

import pytest
import tiny
from abuse.damage import TEXTS, edited, json_bytes, tried, values
from abuse.refused import refusal
from hypothesis import given
from hypothesis import strategies as st

from adm.models.load import recipe_of
from adm.networks import on_meta
from adm.recipes import Recipe, build
from adm.recipes.schema import from_json, override
from adm.samplers.settings import KINDS
from adm.spec import parse, paths_of, to_json

RECIPES = (tiny.diffusion(), tiny.classifier(), tiny.upsampler(), tiny.student())


def refused(make: Callable[[], Recipe]) -> str | None:
    """The refusal of a recipe; None if its network can be described."""

    def built() -> None:
        recipe = make()
        build.check(recipe)
        on_meta(recipe.config)

    return refusal(built)


@given(content=st.sampled_from([to_json(each) for each in RECIPES]).flatmap(json_bytes))
@tried
def test_damaged_recipes_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "recipe.json"
    path.write_bytes(content)
    refused(lambda: recipe_of(str(path)))


@given(values_=st.sampled_from([to_json(each) for each in RECIPES]).flatmap(edited))
@tried
def test_edited_recipes_are_refused_in_a_line(values_: object) -> None:
    refused(lambda: from_json(values_))


@given(
    recipe=st.sampled_from(RECIPES),
    data=st.data(),
    value=st.sampled_from(TEXTS) | values.map(str) | st.text(max_size=9),
    form=st.sampled_from(("{}={}", "{}.x={}", "{}", "={1}", "{}=={}")),
)
@tried
def test_odd_settings_are_refused_in_a_line(
    recipe: Recipe, data: st.DataObject, value: str, form: str
) -> None:
    field = data.draw(st.sampled_from(paths_of(recipe)))
    refused(lambda: override(recipe, [form.format(field, value)]))


@pytest.mark.parametrize(
    "setting",
    [
        *("unet.channels=1000000000", "unet.depth=1000000", "unet.multipliers=1e30"),
        *("unet.classes=1000000000", "data.size=1000000000", "process.steps=1000000000"),
        *("train.batch_size=1000000000", "unet.multipliers=" + ",".join("1" * 1000)),
    ],
)
def test_a_size_that_nothing_can_train_is_refused_before_it_is_built(setting: str) -> None:
    assert refused(lambda: override(tiny.diffusion(), [setting]))


PARTS = ("{}:", "{}:eta", "{}:eta=", "{}:eta=nan", "{}:x=1", "{}:__class__=1", ":=", ",,", "{}:{}")
SPECS = (
    *("karras:steps=1,end=1e9", "even:steps=0", "levels:levels=9-3", "classifier:scale=inf"),
    *("free:scale=1.5,interval=9-2", "classifier:scale=1,scale=2", "ddim:" + "eta=1," * 2000),
)


@given(
    kinds=st.sampled_from([*KINDS]),
    data=st.data(),
    value=st.sampled_from(TEXTS) | st.text(max_size=9),
    form=st.sampled_from(PARTS),
)
@tried
def test_odd_specs_are_refused_in_a_line(
    kinds: str, data: st.DataObject, value: str, form: str
) -> None:
    name = data.draw(st.sampled_from([*KINDS[kinds]]))
    spec = data.draw(st.just(form.format(name, value)) | st.just(value) | st.sampled_from(SPECS))
    refusal(lambda: parse(KINDS[kinds], spec, kinds))
