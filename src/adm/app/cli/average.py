"""adm average RUN --width WIDTH --out FILE -> model file of an average of that width."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.spec import SettingError
from adm.store.files import new_file

if TYPE_CHECKING:
    from adm.training.posthoc import Fit

SUFFIX = ".safetensors"


def average(
    run: Path,
    /,
    *,
    width: Annotated[tuple[float, ...] | None, lists.numbers("0.05,0.1")] = None,
    step: int | None = None,
    out: Annotated[Path | None, OUT] = None,
    list: Annotated[bool, Parameter(negative="")] = False,
    plot: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Reconstruct an average of any width from the averages that a run stores.

    A run stores averages if it is trained with `--set train.ema_widths=0.05,0.1`. The result is a
    model file, for `adm sample` and `adm info`. docs/concepts/averages.md measures its error.

    Examples:

        adm average runs/digits --list

        adm average runs/digits --width 0.1 --out digits-0.1.safetensors

        adm average runs/digits --width 0.03,0.05,0.1,0.2 --step 20000 --out averages

    Parameters
    ----------
    run
        Run folder.
    width
        Width of the average relative to its number of steps: 0.1 puts half the weight on the last
        8% of them. One number, or several separated by commas or spaces.
    step
        Step at which the average ends, one with stored averages; the last by default.
    out
        Model file to write, or a folder for several widths.
    list
        List the stored averages, and exit.
    plot
        File to plot the requested and the reconstructed profiles to: PNG, PDF or SVG.
    """
    if not run.is_dir():
        what = "is a file" if run.exists() else "does not exist"
        raise ValueError(f"{run} {what}; give the folder of a run")
    if out is not None:
        places.writable(out)
    if plot is not None:
        places.file(plot, "--plot", "profiles.png")
    if list:
        show_stored(run, as_json)
        return
    if width is None or out is None:
        missing = "width" if width is None else "out"
        raise SettingError(missing, "given, unless {list} lists the stored averages")
    from adm.training import posthoc

    fits = {}
    for path, one in targets(width, out):
        fit = fits[path] = posthoc.write(run, one, path, step)
        if fit.poor and not as_json:
            print(summary(path, fit))
        else:
            say(summary(path, fit), as_json)
    show(lambda: [_as_json(*each) for each in fits.items()], as_json, lambda: None)
    if plot is not None:
        draw([*fits.values()], plot)
        say(f"{plot}: the profiles", as_json)


def targets(widths: Sequence[float], out: Path) -> Sequence[tuple[Path, float]]:
    """Return path and width of each average: one file, or files in a folder."""
    if out.suffix == SUFFIX:
        if len(widths) > 1:
            raise SettingError("out", "a folder for several widths", str(out))
        return [(out, widths[0])]
    return [(out / f"width-{width}{SUFFIX}", width) for width in widths]


def show_stored(run: Path, as_json: bool = False) -> None:
    """Print the steps with stored averages, one line per width."""
    from adm.training import posthoc

    snapshots, steps_of = posthoc.stored(run), dict[float, list[int]]()
    for one in sorted(snapshots, key=lambda one: one.width):
        steps_of.setdefault(one.width, []).append(one.step)
    listed = [{"width": width, "steps": steps} for width, steps in steps_of.items()]

    def text() -> None:
        for width, steps in steps_of.items():
            ends = steps if len(steps) < 9 else (*steps[:3], "...", *steps[-3:])
            print(f"width {width}: {len(steps)} stored, at steps {', '.join(map(str, ends))}")
        size = sum(one.path.stat().st_size for one in snapshots)
        print(f"{size / 1e6:,.1f} MB in {snapshots[0].path.parent}")

    show(lambda: listed, as_json, text)


def _as_json(path: Path, fit: "Fit") -> dict[str, Any]:
    return {
        "file": str(path),
        "width": fit.width,
        "step": fit.step,
        "stored_averages": len(fit.shares),
        "error": fit.error,
        "poor": fit.poor,
    }


def summary(path: Path, fit: "Fit") -> str:
    """Describe the file that was written, and the error of its profile."""
    line = (
        f"{path}: width {fit.width} at step {fit.step}, from {len(fit.shares)} stored averages; "
        f"the error of its profile is {100 * fit.error:.2g}%"
    )
    if not fit.poor:
        return line
    return (
        f"{line}. WARNING: this is not the requested average; choose a width closer to the stored "
        "ones, or store more of them (a smaller train.save_every_steps)"
    )


def draw(fits: "Sequence[Fit]", path: Path) -> None:
    """Plot the requested and the reconstructed profile of every width."""
    import numpy as np
    from matplotlib.figure import Figure

    from adm.training.posthoc import profile

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for fit in fits:
        times = np.linspace(0, fit.step, 2000)
        requested = axes.plot(
            times, profile(fit.width, fit.step, times), label=f"{fit.width} requested"
        )
        style = {"linestyle": "--", "color": "black", "linewidth": 0.8}
        axes.plot(
            times, fit.profile(times), **style, label="reconstructed" if fit is fits[-1] else None
        )
        axes.fill_between(times, requested[0].get_ydata(), alpha=0.1)
    axes.set(xlabel="step", ylabel="weight per step", ylim=(0, None))
    axes.legend()
    with new_file(path) as part:
        figure.savefig(part, dpi=150, format=path.suffix[1:] or "png")
