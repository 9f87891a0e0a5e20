"""`--set field=value`, untrusted recipe files -> a recipe that can be built, or one line."""

from collections.abc import Callable

import pytest
import tiny
from mutations import refusal

from adm.networks import on_meta
from adm.recipes import Recipe, build
from adm.recipes.schema import override


def refused(make: Callable[[], Recipe]) -> str | None:
    """The error of a call in one line; None if it made a recipe whose network can be built."""

    def built() -> None:
        recipe = make()
        build.check(recipe)
        on_meta(recipe.config)

    return refusal(built)


@pytest.mark.parametrize("setting", ["", "=", "==", "a" * 100_000, "\x1b[31m=1", "unet.=1", ".=1"])
def test_invalid_settings_are_refused(setting: str) -> None:
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
        "train.ema_others=" + ",".join(["0.1"] * 1000),
    ],
)
def test_a_size_that_nothing_can_train_is_refused_before_it_is_built(setting: str) -> None:
    assert refused(lambda: override(tiny.diffusion(), [setting]))
