"""`--set field=value`, recipe files of anyone -> a recipe that can be built, or one line."""

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import tiny
from mutations import places, refusal

from adm.networks import on_meta
from adm.recipes import Recipe, build
from adm.recipes.schema import override
from adm.spec import to_json

VALUES = (
    *("", " ", "=", "1e999", "-1e999", "NaN", "Infinity", "-0", "-0.0", "-1", "0", "1.5", "1e9"),
    *("1e-320", str(10**400), "9" * 5000, "[" * 100_000, "[" * 70 + "]" * 70, "," * 10_000),
    *(",".join("1" * 100_000), "{}", '{"a": 1, "a": 2}', '"\\ud800"', "null", "true"),
    *("\x1b[2J\u202e", "é" * 10_000, "\U0001f600", "../../etc"),
)


def refused(make: Callable[[], Recipe]) -> str | None:
    """The error of a call in one line; None if it made a recipe whose network can be built."""

    def built() -> None:
        made = make()
        build.check(made)
        on_meta(made.config)

    return refusal(built)


def settings_of(recipe: Recipe) -> Iterator[str]:
    for path in places(to_json(recipe)):
        if path and not any(isinstance(part, int) for part in path):
            yield ".".join(path)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_every_value_of_every_setting_is_taken_or_refused_in_one_line(kind: str) -> None:
    recipe, chance = tiny.KINDS[kind](), random.Random(kind)
    told = [
        refused(partial(override, recipe, [f"{field}={chance.choice(VALUES)}"]))
        for field in settings_of(recipe)
    ]
    assert len(told) > 40
    assert None in told


@pytest.mark.parametrize("setting", ["", "=", "==", "a" * 100_000, "\x1b[31m=1", "unet.=1", ".=1"])
def test_what_is_no_setting_is_refused(setting: str) -> None:
    assert refused(lambda: override(tiny.diffusion(), [setting]))


@pytest.mark.parametrize(
    "setting",
    [
        "unet.channels=1000000000",
        "unet.depth=1000000",
        "unet.multipliers=" + ",".join("1" * 1000),
        "unet.multipliers=1e30",
        "unet.classes=1000000000",
        "data.size=1000000000",
        "process.steps=1000000000",
        "train.batch_size=1000000000",
        "watch.images=1000000000",
        "train.ema_widths=" + ",".join(["0.1"] * 1000),
    ],
)
def test_a_size_that_nothing_can_train_is_refused_before_it_is_built(setting: str) -> None:
    assert refused(lambda: override(tiny.diffusion(), [setting]))
