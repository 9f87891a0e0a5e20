"""Arguments of `adm grid` -> ValueError, OSError, or nothing, as in `adm.cli.early`."""

from collections.abc import Sequence
from pathlib import Path

from adm.arguments import check_grid
from adm.cli import early, places
from adm.cli.obstacles import gathered
from adm.limits import MOST_SEARCHED


# Six parameters: what of the options can be refused early.
def check(
    model: str,
    steps: Sequence[int],
    *,
    start: int | None,
    count: int,
    classifier: str | None,
    plot: Path | None,
) -> None:
    """Refuse what `adm grid` cannot do."""
    from adm.generation.labels import positive
    from adm.models.stored_grids import file_of, named_model, read

    with gathered() as check:
        base = check(early.model_of, model, "diffusion")
        if classifier is not None:
            check(early.model_of, classifier, "classifier")
        check(positive, "count", count)
        if base is not None:
            first = base.grid.get("start") if start is None else start
            check(check_grid, 2, first, base.steps)
            check(_check_steps, steps, first or base.steps)
            check(_check_upsampler, named_model(base.path), base.low_shape)
            check(read, base.path)
            check(places.creatable, file_of(base.path), "model")
        if plot is not None:
            check(places.file, plot, "--plot", "grid.png")


def _check_steps(steps: Sequence[int], start: int) -> None:
    most = min(MOST_SEARCHED, start - 1)
    for number in steps:
        if not 2 <= number <= most:
            raise ValueError(f"steps must be in 2..{most}, got {number}")


def _check_upsampler(model: str, low_shape: Sequence[int] | None) -> None:
    if low_shape is not None:
        raise ValueError(f"{model} is an upsampler; grids are searched for other models only")
