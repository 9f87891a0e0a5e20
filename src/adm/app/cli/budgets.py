"""--budget, Pipeline, scale -> the best settings that fit, by name."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adm.app.cli.output import say
from adm.spec import SettingError

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.generation.pipeline import Pipeline

BUDGET = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|min)\s*")
UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0}
FREE = ("scale", "seed", "rounding")  # settings that may be given with a budget


def seconds(budget: str) -> float:
    """Read a time per image, such as 0.05s or 50ms.

    Raises:
        SettingError: it has another form, or is zero.
    """
    match = BUDGET.fullmatch(budget)
    time = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < time < 1e9:
        raise SettingError("budget", "the time for an image, as in 0.05s, 50ms or 1min", budget)
    return time


def check(budget: str | None, overrides: Mapping[str, Any], upsampler: str | None) -> None:
    """Refuse a budget that cannot be read, and settings that a budget decides.

    Args:
        overrides: settings by name.

    Raises:
        SettingError: the budget has another form, or is given with a setting that it decides.
    """
    if budget is None:
        return
    seconds(budget)
    if decided := [name for name in overrides if name not in FREE]:
        raise SettingError(decided[0], "left out with {budget}, which chooses the settings")
    if upsampler is not None:
        raise SettingError("upsampler", "left out with {budget}")


def fitting(pipeline: "Pipeline", budget: str, scale: float | None) -> dict[str, Any]:
    """Return the best settings that fit a budget, by name, after `check`.

    Timings of another machine are rescaled by the timing of the fastest point on this one.

    Args:
        scale: guidance scale; None for the measured one that is nearest to the model's default.

    Raises:
        ValueError: there is no frontier, or it is of another model.
        SettingError: no settings fit.
    """
    from adm.app.study.frontier import check_models, file_of, load, options, spoken
    from adm.app.study.timing import machine_of, slower

    file = file_of(pipeline.model.path)
    if not file.is_file():
        raise ValueError(f"no frontier is stored in {file}; run `adm frontier` on the model first")
    frontier, machine = load(file), machine_of(pipeline.device)
    if scale is None:  # the one measured that is nearest to the default
        usual = getattr(pipeline.sampling, "scale", 0.0)
        scale = min(frontier.scales, key=lambda each: abs(each - usual))
    fastest, factor = frontier.fastest(scale), 1.0
    check_models(frontier, file, pipeline.job(None, None, scale=scale).manifest())
    if frontier.machine != machine:
        quickest: dict[str, Any] = {**frontier.shared, **fastest.settings}
        factor = slower(pipeline.job(None, None, **quickest), fastest.seconds)
        say(
            f"the frontier was measured on {frontier.machine}; measured now on {machine}, an image "
            f"takes {factor:.2g} times as long"
        )
    chosen = frontier.within(scale, seconds(budget), factor)
    quality = f"{frontier.features[0]} distance {frontier.distance(chosen).value:.3g}"
    shared = {name: value for name, value in frontier.shared.items() if name != "seed"}
    settings = {**shared, **chosen.settings}
    say(f"{options(settings)}: {spoken(chosen.seconds * factor)} an image, {quality}")
    return settings
