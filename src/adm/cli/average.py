"""adm average RUN --width 0.1 --out FILE -> a model whose weights are another average."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.files import new_file

if TYPE_CHECKING:
    from adm.training.posthoc import Fit

SUFFIX = ".safetensors"


def average(
    run: Path,
    /,
    *,
    width: str | None = None,
    step: int | None = None,
    out: Path | None = None,
    list: Annotated[bool, Parameter(negative="")] = False,
    plot: Path | None = None,
) -> None:
    """Make the average of any length from those that a run has stored, after training.

    A run stores them when it is trained with `--set train.ema_widths=0.05,0.1`. What comes out is
    a model file that `adm sample` and `adm info` take. docs/averages.md says which widths to try.

    Examples:

        adm average runs/digits --list

        adm average runs/digits --width 0.1 --out digits-0.1.safetensors

        adm average runs/digits --width 0.03,0.05,0.1,0.2 --step 20000 --out averages

    Parameters
    ----------
    run
        The run's folder.
    width
        Of the average as a share of the steps up to its end: 0.1 takes half of its weight from
        the last 8% of them. One, or several with commas.
    step
        At which it ends: one at which averages were stored. The last by default.
    out
        The file to write, or the folder for several widths.
    list
        Show what is stored, and stop.
    plot
        Draw the profiles, wanted and made, into this file (PNG, PDF or SVG).
    """
    if list:
        show_stored(run)
        return
    if width is None or out is None:
        raise ValueError("give --width and --out, or --list to see what is stored")
    # Loaded here and not above, so that --help answers before torch is there.
    from adm.training import posthoc

    fits = []
    for path, one in targets(parse_widths(width), out):
        fits.append(posthoc.write(run, one, path, step))
        print(told(path, fits[-1]))
    if plot is not None:
        draw(fits, plot)
        print(f"{plot}: the profiles")


def parse_widths(text: str) -> Sequence[float]:
    """Numbers with commas; their range is checked where they are used."""
    try:
        widths = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        widths = []
    if not widths:
        raise ValueError(f"cannot read --width {text!r}; write one or more, as in 0.05,0.1")
    return widths


def targets(widths: Sequence[float], out: Path) -> Sequence[tuple[Path, float]]:
    """Where each average goes: a file for one, files in a folder for several."""
    if out.suffix == SUFFIX:
        if len(widths) > 1:
            raise ValueError(
                f"{out} is one file and {len(widths)} widths were given; give a folder"
            )
        return [(out, widths[0])]
    return [(out / f"width-{width}{SUFFIX}", width) for width in widths]


def show_stored(run: Path) -> None:
    """The steps of every width, a line each."""
    from adm.training import posthoc

    snapshots = posthoc.stored(run)
    for width in sorted({one.width for one in snapshots}):
        steps = [one.step for one in snapshots if one.width == width]
        shown = (
            [str(step) for step in steps]
            if len(steps) < 9
            else [*map(str, steps[:3]), "...", *map(str, steps[-3:])]
        )
        print(f"width {width}: {len(steps)} stored, at steps {', '.join(shown)}")
    size = sum(one.path.stat().st_size for one in snapshots)
    print(f"{size / 1e6:,.1f} MB in {snapshots[0].path.parent}")


def told(path: Path, fit: "Fit") -> str:
    """What was written, and how near it is to what was asked for."""
    line = (
        f"{path}: width {fit.width} at step {fit.step}, from {len(fit.shares)} stored averages; "
        f"its profile is off by {100 * fit.error:.2g}%"
    )
    if not fit.poor:
        return line
    return (
        f"{line}. WARNING: that is another average than the one asked for; a width nearer the "
        "stored ones comes closer, or more checkpoints (a smaller train.save_every_steps)"
    )


def draw(fits: "Sequence[Fit]", path: Path) -> None:
    """The profile that was asked for and the one that was made, for every width."""
    import numpy as np
    from matplotlib.figure import Figure

    from adm.training.posthoc import profile

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for fit in fits:
        times = np.linspace(0, fit.step, 2000)
        wanted = axes.plot(times, profile(fit.width, fit.step, times), label=f"{fit.width} wanted")
        style = {"linestyle": "--", "color": "black", "linewidth": 0.8}
        axes.plot(times, fit.profile(times), **style, label="made" if fit is fits[-1] else None)
        axes.fill_between(times, wanted[0].get_ydata(), alpha=0.1)
    axes.set(xlabel="step", ylabel="share of the average per step", ylim=(0, None))
    axes.legend()
    with new_file(path) as part:
        figure.savefig(part, dpi=150, format=path.suffix[1:] or "png")
