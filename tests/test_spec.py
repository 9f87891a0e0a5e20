"""Text "name:key=value,..." <-> dataclass; field, value, cure -> an error message."""

import math
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, fields
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest
import tiny
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from pydantic.fields import FieldInfo

from adm.diffusion import TARGETS
from adm.networks import HeadCount, HeadWidth
from adm.recipes import RECIPES, build, recipe
from adm.recipes.schema import from_json, override
from adm.restoration.operators import OPERATORS
from adm.samplers import (
    DDIM,
    GRIDS,
    GUIDES,
    SAMPLERS,
    THRESHOLDS,
    ClassifierGuide,
    Even,
    FreeGuide,
    Karras,
    Levels,
    Sampling,
)
from adm.spec import (
    Checked,
    SettingError,
    assign,
    convert,
    out_of_range,
    parse,
    paths_of,
    split,
    text,
    to_json,
    written,
)
from adm.training.levels import LEVELS
from adm.training.optimizers import OPTIMIZERS

OF_SAMPLING: dict[str, Mapping[str, type[Any]]] = {
    "sampler": SAMPLERS,
    "grid": GRIDS,
    "guide": GUIDES,
    "threshold": THRESHOLDS,
}
TABLES = OF_SAMPLING | {
    "prediction": TARGETS,
    "levels": LEVELS,
    "optimizer": OPTIMIZERS,
}
KINDS = {(field, name): kind for field, table in TABLES.items() for name, kind in table.items()}
MOST = 1e6  # for numbers without a bound


def numbers(kind: Any, bounds: list[Any]) -> st.SearchStrategy[Any]:
    """Numbers of a type within its bounds; all doubles may be needed, to the last digit."""
    low, high = -MOST, MOST
    for each in bounds:
        if isinstance(each, Ge | Gt):
            low = getattr(each, "ge", None) if isinstance(each, Ge) else each.gt
        if isinstance(each, Le | Lt):
            high = getattr(each, "le", None) if isinstance(each, Le) else each.lt
    if kind is int:
        return st.integers(int(low), int(high) - any(isinstance(each, Lt) for each in bounds))
    open_low = any(isinstance(each, Gt) for each in bounds)
    open_high = any(isinstance(each, Lt) for each in bounds)
    return st.floats(low, high, allow_nan=False, exclude_min=open_low, exclude_max=open_high)


def values(hint: Any, bounds: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of the type of a field; those of a list ascend, as levels and intervals do."""
    if get_origin(hint) is Annotated:
        inner, *extra = get_args(hint)
        constraints = [
            one for each in extra if isinstance(each, FieldInfo) for one in each.metadata
        ]
        return values(inner, (*bounds, *constraints))
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if hint is bool:
        return st.booleans()
    if hint in (int, float):
        return numbers(hint, list(bounds))
    if hint is NoneType:
        return st.none()
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        size = (1, 5) if arguments[1] is ... else (len(arguments), len(arguments))
        several = st.lists(values(arguments[0]), min_size=size[0], max_size=size[1], unique=True)
        return several.map(lambda each: tuple(sorted(each)))
    return st.one_of([values(each) for each in arguments])


def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{each.name: values(hints[each.name]) for each in fields(kind)})


@pytest.mark.parametrize(("field", "name"), KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_text_of_a_kind_is_read_back(field: str, name: str, data: Any) -> None:
    value = data.draw(instances(KINDS[field, name]))
    assert text(value).partition(":")[0] == name
    assert parse(TABLES[field], text(value), field) == value


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_settings_are_the_same_through_json(data: Any) -> None:
    drawn: dict[str, Any] = {
        field: data.draw(st.one_of([instances(kind) for kind in table.values()]))
        for field, table in OF_SAMPLING.items()
    }
    sampling = Sampling(**(drawn | {"guide": (drawn["guide"],) * 2}), seed=2**64 - 1)
    assert convert(Sampling, to_json(sampling)) == sampling


@pytest.mark.parametrize(
    ("field", "spec", "value"),
    [
        ("sampler", " ddim : eta = 0.5 ", DDIM(eta=0.5)),
        ("sampler", "ddim:", DDIM()),
        ("sampler", "ddim:0.5", DDIM(eta=0.5)),
        ("grid", "levels:86,273.2,980", Levels(levels=(86.0, 273.2, 980.0))),
        ("grid", "karras:steps=10,end=3", Karras(steps=10, end=3.0)),
        ("guide", "free:1.5", FreeGuide(scale=1.5)),
        (
            "guide",
            "classifier:scale=2,interval=300-980,every=2,by=none",
            ClassifierGuide(scale=2.0, interval=(300, 980), every=2),
        ),
        ("guide", "classifier:scale=-1e-05", ClassifierGuide(scale=-1e-05)),
    ],
)
def test_a_spec_is_a_name_and_values_of_its_fields(field: str, spec: str, value: object) -> None:
    assert parse(TABLES[field], spec, field) == value


@pytest.mark.parametrize(
    ("field", "spec", "message"),
    [
        ("sampler", "dim", "got 'dim'; did you mean ddim?"),
        ("sampler", 3, "sampler must be one of ancestral, ddim, "),
        (
            "sampler",
            "ddim:eat=1",
            "ddim has the parameters eta, noise, clip_again, and not 'eat=1'",
        ),
        ("sampler", "ddim:eta=2", "sampler.eta must be at most 1, got '2'"),
        ("sampler", "ddim:eta=much", "sampler.eta must be a number, got 'much'"),
        ("threshold", "clip:quantile=1", "clip has no parameters, such as 'quan"),
        ("grid", "karras:steps=2.5", "grid.steps must be a whole number, got '2.5'"),
        ("grid", "karras", "grid.steps must be given"),
        ("grid", "levels:5,3", "grid.levels must be in ascending order"),
        ("guide", "weak:scale=inf", "guide.scale must be a finite number"),
        (
            "sampler",
            "unipc:eta=1,noise=7-3",
            "sampler.noise must be two levels, the lower one first",
        ),
        ("operator", "downsample:filter=x", "operator.filter must be 'mean' or 'bicubic', got 'x'"),
        ("guide", "classifier:scale=1,every=0", "guide.every must be at least 1, got '0'"),
    ],
)
def test_an_invalid_spec_is_refused_by_its_field(field: str, spec: Any, message: str) -> None:
    tables = TABLES | {"operator": OPERATORS}
    with pytest.raises(SettingError) as error:
        parse(tables[field], spec, field)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "specs",
    [
        ["levels:3,5,9"],
        ["even", "levels:86,273.2,980", "karras:steps=5,end=3", "log-snr"],
        ["none", "free:scale=2,interval=3-9", "classifier:scale=1"],
        ["0", "0.5", "1e-3"],
    ],
)
def test_a_list_of_specs_is_split_where_a_name_follows_a_comma(specs: list[str]) -> None:
    assert split(",".join(specs)) == specs
    assert split(", ".join(specs)) == specs


def test_a_refusal_names_arguments_as_each_front_end_does() -> None:
    error = out_of_range("steps", "left out for {grid}", 3, "pass {grid=karras:steps=3}")
    assert str(error) == "steps must be left out for grid=..., got 3; pass grid=karras:steps=3"

    def flag(name: str, value: str | None) -> str:
        return f"--{name}" if value is None else f"--{name} {value}"

    sentence = error.text("--steps", flag)
    assert sentence == "--steps must be left out for --grid, got 3; pass --grid karras:steps=3"
    assert error.within("sample").field == "sample.steps"


@dataclass(frozen=True, kw_only=True)
class Bounded(Checked):
    width: Annotated[int, Field(ge=1)]
    names: tuple[str, ...] = ()
    name: ClassVar[str] = "bounded"


def test_a_dataclass_is_validated_and_keeps_its_values() -> None:
    assert Bounded(width=3).width == 3
    for wrong in (0, "3", 2.5, None):
        with pytest.raises(SettingError) as error:
            Bounded(width=wrong)  # type: ignore[arg-type]
        assert error.value.field == "width"
    with pytest.raises(FrozenInstanceError):
        Bounded(width=3).width = 4  # type: ignore[misc]
    exact = math.nextafter(0.5, 1)
    assert DDIM(eta=exact).eta == exact


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("unet.dropout=0.1", 0.1),
        ("unet.depth=3", 3),
        ("train.learning_rate=1e-4", 1e-4),
        ("data.size=32,64", (32, 64)),
        ("data.size=32", (32, 32)),
        ("data.size=[32, 64]", (32, 64)),
        ("unet.multipliers=1,1.5,2", (1.0, 1.5, 2.0)),
        ("unet.attention_factors=[]", ()),
        ("unet.attention_factors=none", ()),
        ("data.flip=True", True),
        ("unet.classes=none", None),
        ("unet.heads.heads=4", HeadCount(4)),
        ("unet.heads.channels_per_head=16", HeadWidth(16)),
        ("unet.decoder_heads.heads=2", HeadCount(2)),
        ("process.schedule=linear", "linear"),
        ("data.source=my photos/a=b", "my photos/a=b"),
        ("sample.sampler=ddim:eta=0.5", DDIM(eta=0.5)),
        ("sample.grid=karras:steps=10,end=3", Karras(steps=10, end=3.0)),
        ("sample.guide=none", ()),
        (
            "sample.guide=classifier:scale=2,interval=3-9+free:scale=1.5",
            (ClassifierGuide(scale=2.0, interval=(3, 9)), FreeGuide(scale=1.5)),
        ),
    ],
)
def test_a_field_of_a_recipe_is_set_by_the_text_of_its_type(setting: str, value: object) -> None:
    section, field = setting.partition("=")[0].split(".")[:2]
    actual = getattr(getattr(override(recipe("digits"), [f" {setting} "]), section), field)
    assert actual == value
    assert type(actual) is type(value)


def test_a_field_of_a_spec_is_set_within_it_and_all_else_stays() -> None:
    base = override(recipe("digits"), ["sample.grid=even:steps=9,start=90"])
    changed = override(base, ["sample.grid.steps=3", "sample.grid.steps=5"])
    assert changed.sample.grid == Even(steps=5, start=90)  # type: ignore[union-attr]
    assert to_json(override(changed, ["sample.grid.steps=9"])) == to_json(base)
    assert override(base, []) == base


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_of_a_recipe_is_written_as_it_is_read(name: str) -> None:
    chosen = recipe(name)
    for path in paths_of(chosen):
        value: Any = chosen
        for part in path.split("."):
            value = getattr(value, part)
        assert assign(chosen, path, written(value)) == chosen


def test_fields_that_must_agree_are_set_in_any_order() -> None:
    settings = ["unet.multipliers=1", "unet.attention_factors=1"]
    for each in (settings, settings[::-1]):
        unet = override(recipe("digits"), each).unet  # type: ignore[union-attr]
        assert (unet.multipliers, unet.attention_factors) == ((1.0,), (1,))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("unet.drpout=0.1", "there is no setting unet.drpout; did you mean unet.dropout or "),
        ("unet.dropout.x=1", "there is no setting unet.dropout.x; did you mean unet.dropout"),
        ("name=other", "name is the recipe's own"),
        ("unet.dropout", "set must be a field and a value, as in unet.dropout=0.1, got"),
        ("loss=hybird", "loss must be 'simple', 'hybrid' or 'vlb', got 'hybird'"),
        ("train.steps=0", "train.steps must be greater than 0, got '0'"),
        ("unet.multipliers=1,x", "unet.multipliers.1 must be a number, got 'x'"),
        ("unet.heads.channels_per_head=wide", "unet.heads.channels_per_head must be a whole"),
        ("train.learning_rate=Infinity", "train.learning_rate must be a finite number"),
        ("sample.grid=foo", "sample.grid must be one of even, "),
        ("sample.grid=karras:end=x", "sample.grid.end must be a number"),
        ("sample.guide=weak", "sample.guide.0.scale must be given"),
    ],
)
def test_a_field_that_a_recipe_does_not_have_or_take_is_refused(setting: str, message: str) -> None:
    with pytest.raises(SettingError) as error:
        override(recipe("digits"), [setting])
    assert str(error.value).startswith(message)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "settings",
    [
        ["data.size=9,8"],
        ["unet.multipliers=1,2,2,2,2"],
        ["data.channels=3"],
        ["process.variance=fixed_small"],
        ["process.schedule=linear", "process.steps=10"],
        ["unet.attention_factors=3"],
        ["unet.dropout=1"],
        ["unet.norm_groups=7"],
        ["unet.heads.heads=5"],
        ["unet.heads.channels_per_head=512"],
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: list[str]) -> None:
    def build_all() -> None:
        chosen = override(recipe("digits"), settings)
        build.check(chosen)
        build.network(chosen)

    with pytest.raises(ValueError, match=r"^[^\n]{20,250}$"):
        build_all()


def test_a_classifier_has_the_size_of_its_data() -> None:
    with pytest.raises(ValueError, match="set both to the same"):
        build.check(tiny.classifier("data.size=16,16"))
    build.check(tiny.classifier("data.size=16", "classifier.size=16"))


def test_json_that_is_no_recipe_is_refused() -> None:
    with pytest.raises(SettingError, match="kind must be diffusion or classifier"):
        from_json({"a": 1})


def test_assign_takes_any_nested_dataclass() -> None:
    sampling = assign(Sampling(), "grid", "even:steps=9")
    assert assign(sampling, "grid.start", "90").grid == Even(steps=9, start=90)
    assert assign(sampling, "seed", "3") == sampling.change(seed=3)
