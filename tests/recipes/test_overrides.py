"""recipe, "field=value" -> recipe: what text becomes, and what is refused with which cure."""

import re
from typing import Any

import pytest
import tiny

from adm.networks import HeadCount, HeadWidth
from adm.recipes import build, recipe
from adm.recipes.schema import override
from adm.recipes.schema import from_json, to_json


def changed(setting: str) -> Any:
    """The value that the recipe has after a setting, at its path."""
    here: Any = override(recipe("digits"), [setting])
    for part in setting.partition("=")[0].split("."):
        here = getattr(here, part)
    return here


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("unet.dropout=0.1", 0.1),
        ("unet.depth=3", 3),
        ("train.learning_rate=1e-4", 1e-4),
        ("data.size=32,64", (32, 64)),
        ("data.size=32", (32, 32)),
        ("data.size=[32, 64]", (32, 64)),
        ("data.size=(32,64)", (32, 64)),
        ("unet.multipliers=1,1.5,2", (1.0, 1.5, 2.0)),
        ("unet.attention_factors=2", (2,)),
        ("unet.attention_factors=[]", ()),
        ("data.flip=true", True),
        ("data.flip=False", False),
        ("unet.classes=none", None),
        ("sample.grid.start=null", None),
        ("process.schedule=linear", "linear"),
        ("data.source=my photos/a=b", "my photos/a=b"),
        (" unet.dropout = 0.2 ", 0.2),
    ],
)
def test_text_becomes_the_field_s_own_type(setting: str, value: object) -> None:
    found = changed(setting.strip().replace(" = ", "="))
    assert found == value
    assert type(found) is type(value)


def test_all_else_stays_as_it_was_and_the_last_setting_wins() -> None:
    values = to_json(recipe("digits"))
    values["unet"]["dropout"] = 0.2
    settings = ["unet.dropout=0.1", "unet.dropout=0.2"]
    assert to_json(override(recipe("digits"), settings)) == values
    assert override(recipe("digits"), []) == recipe("digits")


def test_heads_change_from_one_alternative_to_the_other() -> None:
    by_count = override(recipe("digits"), ["unet.heads.heads=4"])
    assert by_count.unet.heads == HeadCount(4)  # type: ignore[union-attr]
    by_width = override(by_count, ["unet.heads.channels_per_head=16"])
    assert by_width.unet.heads == HeadWidth(16)  # type: ignore[union-attr]
    decoder = override(recipe("digits"), ["unet.decoder_heads.heads=2"])
    assert decoder.unet.decoder_heads == HeadCount(2)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("unet.drpout=0.1", "unknown field 'unet.drpout'; did you mean unet.dropout"),
        ("dropout=0.1", "unknown field 'dropout'; did you mean unet.dropout"),
        ("train.batchsize=2", "did you mean train.batch_size"),
        ("unet.dropout.x=1", "unknown field 'unet.dropout.x'"),
        ("xyz=1", "one that `adm recipes NAME` shows"),
        ("name=other", "unknown field 'name'"),
        ("kind=classifier", "unknown field 'kind'"),
        ("unet=1", "unet: Input should be a dictionary"),
        ("unet.dropout", "cannot read 'unet.dropout'; write field=value, as in unet.dropout=0.1"),
        ("process.schedule=sine", "process.schedule: Input should be 'linear' or 'cosine'"),
        ("loss=hybird", "loss: Input should be 'simple', 'hybrid' or 'vlb'; got 'hybird'"),
        ("train.precision=float64", "'float32', 'bfloat16' or 'float16'; got 'float64'"),
        ("train.steps=0", "train.steps: Input should be greater than 0; got 0"),
        ("train.steps=many", "train.steps: Input should be a valid integer"),
        ("unet.depth=1.5", "unet.depth: Input should be a valid integer"),
        ("train.label_dropout=1.5", "less than or equal to 1; got 1.5"),
        ("unet.multipliers=1,x", "unet.multipliers.1: Input should be a valid number"),
        ("unet.heads.channels_per_head=wide", "valid integer"),
        ("unet.heads.nonsense=4", "unet.heads"),
        ("unet.heads=4", "unet.heads"),
        ("unet.channels=0", "channels must be at least 1, got 0"),
        ("unet.depth=0", "depth must be at least 1, got 0"),
        ("unet.multipliers=[]", "give one positive number per resolution"),
        ("unet.multipliers=1,Infinity", "give one positive number per resolution"),
        ("unet.attention_factors=3", "must be among [1, 2]"),
        ("unet.classes=0", "classes must be at least 1, or None, got 0"),
        ("unet.heads.count=3", "unet.heads.heads: Field required; got {'count': 3}"),
        ("train.learning_rate=Infinity", "train.learning_rate: Input should be a finite number"),
        ("unet.dropout=1", "dropout must be in [0, 1), got 1.0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        override(recipe("digits"), [setting])
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        (["data.size=9,8"], "use 8x8 or 10x8, or fewer multipliers"),
        (["unet.multipliers=1,2,2,2,2"], "each side must be divisible by 16; use 16x16"),
        (["data.channels=3"], "needs unet.in_channels=3 and unet.out_channels=6, got 1 and 2"),
        (["process.variance=fixed_small"], "needs unet.out_channels=1, got 2"),
        (["unet.out_channels=6"], "needs unet.out_channels=2, got 6"),
        (["process.schedule=linear", "process.steps=10"], "at least 20 steps, got 10; use cosine"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: list[str], cure: str) -> None:
    with pytest.raises(ValueError, match=re.escape(cure)):
        build.check(override(recipe("digits"), settings))


def test_one_number_stands_for_both_sides_of_a_classifier() -> None:
    found = override(recipe("digits-classifier"), ["data.size=16", "classifier.size=16"])
    build.check(found)
    assert found.data.size == (16, 16)


def test_fields_of_a_classifier_are_called_as_they_are_set() -> None:
    with pytest.raises(ValueError, match=r"^classifier\.pool: Input should be"):
        override(recipe("digits-classifier"), ["classifier.pool=foo"])
    with pytest.raises(ValueError, match=r"^train\.steps: Input should be"):
        override(recipe("digits-classifier"), ["train.steps=0"])


def test_what_is_no_recipe_at_all_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="the field kind, which is diffusion, classifier or gan"):
        from_json({"a": 1})


def test_a_classifier_is_made_for_the_size_of_its_data() -> None:
    with pytest.raises(ValueError, match="set both to the same"):
        build.check(tiny.classifier("data.size=16,16"))
    build.check(tiny.classifier("data.size=16,16", "classifier.size=16,16"))


@pytest.mark.parametrize(
    ("setting", "cure"),
    [
        ("unet.norm_groups=7", "set norm_groups to a divisor such as"),
        ("unet.heads.heads=5", "choose a head count, or a head width, that divides"),
        ("unet.heads.heads=0", "choose a head count, or a head width, that divides"),
        ("unet.heads.heads=-2", "choose a head count, or a head width, that divides"),
        ("unet.heads.channels_per_head=0", "choose a head count, or a head width, that divides"),
        ("unet.heads.channels_per_head=512", "choose a head count, or a head width"),
    ],
)
def test_widths_that_do_not_divide_are_refused_when_the_network_is_built(
    setting: str, cure: str
) -> None:
    with pytest.raises(ValueError, match=cure):
        build.network(override(recipe("digits"), [setting]))
