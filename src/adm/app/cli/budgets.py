"""--budget, --frontier, SamplingOptions -> SamplingOptions with the best settings that fit."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adm.app.cli.output import say
from adm.app.cli.sampling import SamplingOptions
from adm.spec import SettingError

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.generation.pipeline import Pipeline

BUDGET = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|min)\s*")
UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0}
FREE = ("scale", "seed", "rounding")  # settings that may be given with a budget


def seconds(budget: str) -> float:
    """Read a time for an image, such as 0.05s or 50ms.

    Raises:
        SettingError: it has another form, or is zero.
    """
    found = BUDGET.fullmatch(budget)
    time = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < time < 1e9:
        raise SettingError("budget", "the time for an image, as in 0.05s, 50ms or 1min", budget)
    return time


def check(
    how: SamplingOptions, budget: str | None, folder: Path | None, upsampler: str | None
) -> None:
    """Refuse a budget that cannot be read, or other settings beside it.

    Args:
        folder: of `adm frontier`; None for what it has stored for the model.

    Raises:
        SettingError: there is something beside a budget that it decides, or no budget.
    """
    if budget is None:
        if folder is not None:
            raise SettingError("frontier", "left out without {budget}")
        return
    seconds(budget)
    given = [name for name, value in how.settings.items() if value is not None]
    if beside := [name for name in given if name not in FREE]:
        raise SettingError(beside[0], "left out with {budget}, which chooses the settings")
    if upsampler is not None:
        raise SettingError("upsampler", "left out with {budget}")


def fitted(
    pipeline: "Pipeline", how: SamplingOptions, budget: str, folder: Path | None, model: str
) -> SamplingOptions:
    """Return the options with the best settings that fit a budget, after `check`.

    Timings of another machine are rescaled by that of the fastest point here.

    Raises:
        ValueError: there is no frontier, or it is of another model.
        SettingError: no settings fit.
    """
    from adm.app.study.frontier.choose import check_scale, distance, spoken, time_of, within
    from adm.app.study.frontier.stored import FILE, check_models, file_of, load, options
    from adm.app.study.frontier.trial import machine_of, slower

    file = file_of(pipeline.model.path) if folder is None else folder / FILE
    if not file.is_file():
        raise ValueError(
            f"no frontier is stored in {file}; run `adm frontier {model}`, or give the folder of "
            "one by --frontier"
        )
    frontier, here = load(file), machine_of(pipeline.device)
    scale = pipeline.diffusion.recipe.sample.scale if how.scale is None else how.scale
    check_scale(frontier, scale)
    check_models(frontier, file, pipeline.job(None, None, scale=scale).manifest())
    factor = 1.0
    if frontier.machine != here:
        fastest = min(frontier.scored(scale), key=time_of)
        own = _with(how, {**frontier.shared, **fastest.settings})
        factor = slower(pipeline.job(None, None, **own.settings), fastest.seconds)
        say(
            f"the frontier was measured on {frontier.machine}; measured now on {here}, an image "
            f"takes {factor:.2g} times as long"
        )
    chosen = within(frontier, scale, seconds(budget), factor)
    quality = f"{frontier.features[0]} distance {distance(frontier)(chosen):.3g}"
    shared = {name: value for name, value in frontier.shared.items() if name != "seed"}
    words = options({**shared, **chosen.settings})
    say(f"{words}: {spoken(chosen.seconds * factor)} an image, {quality}")
    return _with(how, {**shared, **chosen.settings})


def _with(how: SamplingOptions, settings: dict[str, Any]) -> SamplingOptions:
    """Return the options with these settings of sampling."""
    given = dict(settings)
    if "guide" in given:
        given["guide"] = (given["guide"],)
    given["without_label"] = not given.pop("use_labels", True)
    return replace(how, **given)
