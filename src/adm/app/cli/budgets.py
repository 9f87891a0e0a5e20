"""--budget, --frontier, SamplingOptions -> SamplingOptions with the best settings that fit."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adm.app.cli.output import say
from adm.app.cli.sampling import SamplingOptions
from adm.shown import shown

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.study.frontier.point import Point
    from adm.app.study.frontier.stored import Frontier
    from adm.generation.pipeline import Pipeline

BUDGET = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|min)\s*")
UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0}
FREE = ("scale", "seed", "rounding")  # settings that may be given with a budget


def seconds(budget: str) -> float:
    """Read a time for an image, such as 0.05s or 50ms.

    Raises:
        ValueError: it has another form, or is zero.
    """
    found = BUDGET.fullmatch(budget)
    time = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < time < 1e9:
        raise ValueError(
            f"cannot read --budget {shown(budget)}; write the time for an image, as in --budget "
            "0.05s, 50ms or 1min"
        )
    return time


def check(
    model: str, how: SamplingOptions, budget: str | None, folder: Path | None, upsampler: str | None
) -> None:
    """Refuse a budget that cannot be read, other settings beside it, or an unfit frontier.

    Args:
        folder: of `adm frontier`; None for what it has stored beside the model.
    """
    if budget is None:
        if folder is not None:
            raise ValueError("--frontier is for --budget; pass --budget as well, as in 0.05s")
        return
    from adm.app.study.frontier.choose import check_scale

    seconds(budget)
    given = [name for name, value in how.settings.items() if value is not None]
    beside = [name for name in given if name not in FREE]
    if beside:
        raise ValueError(
            f"--budget chooses the settings, {beside[0]}=... included; leave one of the two out"
        )
    if upsampler is not None:
        raise ValueError("--budget is for a model without an upsampler; leave out --upsampler")
    frontier = _opened(model, how, folder)
    if how.scale is not None:
        check_scale(frontier, how.scale)


def fitted(
    pipeline: "Pipeline", how: SamplingOptions, budget: str, folder: Path | None, model: str
) -> SamplingOptions:
    """Return the options with the best settings that fit a budget, after `check`.

    Timings of another machine are rescaled by that of the fastest point here, in the precision that
    is the fastest here if that of the frontier was the fastest there.

    Raises:
        ValueError: no settings fit.
    """
    from adm.app.study.frontier.choose import check_scale, distance, scored, spoken, time_of, within
    from adm.app.study.frontier.machine import machine_of, slower

    frontier, here = _opened(model, how, folder), machine_of(pipeline.device)
    scale = pipeline.sampling.scale if how.scale is None else how.scale
    check_scale(frontier, scale)
    factor, precision = 1.0, None
    if frontier.machine != here:
        if frontier.auto_precision:
            precision = pipeline.generator(precision="auto").sampling.precision
        fastest = min(scored(frontier, scale), key=time_of)
        options = _with(how, frontier, _in(fastest.point, precision))
        factor = slower(pipeline.job(None, None, **options.settings), fastest.timing)
        say(
            f"the frontier was measured on {frontier.machine}; measured now on {here}, an image "
            f"takes {factor:.2g} times as long"
        )
    chosen = within(frontier, scale, seconds(budget), factor)
    point = _in(chosen.point, precision)
    quality = f"{frontier.features[0]} distance {distance(frontier)(chosen):.3g}"
    words = " ".join(filter(None, [point.options, frontier.shared.options]))
    say(f"{words}: {spoken(chosen.seconds * factor)} an image, {quality}")
    return _with(how, frontier, point)


def _in(point: "Point", precision: str | None) -> "Point":
    return point if precision is None else replace(point, precision=precision)


def _with(how: SamplingOptions, frontier: "Frontier", point: "Point") -> SamplingOptions:
    return replace(how, **{**frontier.shared.given, **point.settings})


def _opened(model: str, how: SamplingOptions, folder: Path | None) -> "Frontier":
    """Read the frontier of a model; raise ValueError if there is none, or it is of another."""
    from adm.app.study.frontier.stored import FILE, NAME, check_model, load
    from adm.models.paths import beside, resolve

    path = resolve(model, "diffusion")
    file = beside(path, NAME) if folder is None else folder / FILE
    if not file.is_file():
        where = "beside the model" if folder is None else "there"
        raise ValueError(
            f"{file} does not exist: no frontier is stored {where}; run `adm frontier {model}`, or "
            "give the folder of one as frontier=..."
        )
    frontier = load(file)
    guide = None if how.classifier is None else resolve(how.classifier, "classifier")
    check_model(frontier, file, path, guide)
    return frontier
