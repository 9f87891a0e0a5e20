"""Arguments of `adm grid` -> ValueError, OSError, or nothing, as in `adm.app.cli.early`."""

from collections.abc import Sequence
from pathlib import Path

from adm.app.cli import places
from adm.app.cli.early_models import model_of
from adm.app.cli.obstacles import gathered
from adm.arguments import check_grid
from adm.limits import MOST_SEARCHED

COEFFICIENTS = (0.1, 10.0)  # beyond these, one step would count for all


def check(
    model: str,
    steps: Sequence[int],
    *,
    start: int | None,
    count: int,
    coefficient: float,
    classifier: str | None,
    plot: Path | None,
) -> None:
    """Refuse what `adm grid` cannot do."""
    from adm.generation.labels import positive
    from adm.models.paths import resolve
    from adm.models.stored_grids import file_of, read

    with gathered() as check:
        path = check(resolve, model, "diffusion")
        base = check(model_of, model, "diffusion")
        if path is not None:
            check(read, path)
            check(places.creatable, file_of(path), "model")
        if base is not None:
            first = base.grid.get("start") if start is None else start
            check(check_grid, 2, first, base.steps)
            check(_check_steps, steps, first or base.steps)
            check(_check_no_upsampler, model, base.low_shape)
        if classifier is not None:
            check(model_of, classifier, "classifier")
        check(positive, "count", count)
        check(_check_coefficient, coefficient)
        if plot is not None:
            check(places.file, plot, "--plot", "grid.png")


def _check_steps(steps: Sequence[int], start: int) -> None:
    most = min(MOST_SEARCHED, start - 1)
    for number in steps:
        if not 2 <= number <= most:
            raise ValueError(f"steps must be in 2..{most}, got {number}")


def _check_no_upsampler(model: str, low_shape: Sequence[int] | None) -> None:
    if low_shape is not None:
        raise ValueError(f"{model} is an upsampler; grids are searched for other models only")


def _check_coefficient(coefficient: float) -> None:
    low, high = COEFFICIENTS
    if not low <= coefficient <= high:
        raise ValueError(f"coefficient must be in {low}..{high}, got {coefficient:g}")
