"""Arguments of `adm frontier` -> ValueError, OSError, or nothing, as in `adm.app.cli.early`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adm.app.cli import early, places
from adm.app.cli.early_models import models
from adm.app.cli.obstacles import gathered
from adm.app.cli.sampling import SamplingOptions

if TYPE_CHECKING:
    from adm.models.described import Described


# Six parameters: what of the options can be refused early.
def check(
    model: str,
    out: Path,
    how: SamplingOptions,
    *,
    references: Sequence[str],
    classes: str,
    listed: Mapping[str, Sequence[Any] | None],
) -> None:
    """Refuse what `adm frontier` cannot do.

    Args:
        listed: settings that vary -> their values, by the names of `SamplingOptions.settings`.
    """
    from adm.app.study.frontier.stored import FILE, check_model, load
    from adm.data.specs import check_there
    from adm.generation.labels import parse_classes

    with gathered() as gathering:
        base, guide = models(gathering, model, how)
        for reference in references:
            gathering(check_there, reference)
        gathering(places.resumable, out, "a frontier needs")
        if base is not None and (out / FILE).is_file() and (held := gathering(load, out / FILE)):
            gathering(check_model, held, out / FILE, base.path, guide and guide.path)
        known = None if base is None else base.classes or (guide.classes if guide else None)
        if known:
            gathering(parse_classes, classes, known)
        for name, values in listed.items():
            for value in values or ():
                gathering(_check_value, base, how.settings, listed, name, value)


# Five parameters: a value is judged beside those that the other settings have.
def _check_value(
    base: "Described | None",
    settings: Mapping[str, Any],
    listed: Mapping[str, Sequence[Any] | None],
    name: str,
    value: object,
) -> None:
    """Raise ValueError if no point with this value of a setting can be sampled."""
    others = {key: own for key, own in listed.items() if own and key != name}
    beside: dict[str, Any] = {}
    for each in product(*others.values()):
        with suppress(ValueError):
            beside = dict(zip(others, each, strict=True))
            early.of_diffusion(base, {**settings, **beside, name: value})
            return
    early.of_diffusion(base, {**settings, name: value})  # what is wrong with the value alone
    early.of_diffusion(base, {**settings, **beside, name: value})
