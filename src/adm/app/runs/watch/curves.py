"""log.jsonl -> Log: columns by name; Log -> PIL image in RUN/progress.png."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from adm.app.runs.watch.panels import INK, PANELS, Column, Log
from adm.app.runs.watch.preview import write
from adm.app.runs.watch.times import Times
from adm.pictures import png
from adm.training.log import FILE, lines

LEGEND: dict[str, Any] = {  # beside the title, where it covers no data
    "loc": "lower right",
    "bbox_to_anchor": (1, 0.99),
    "borderaxespad": 0,
    "frameon": False,
    "fontsize": 8,
    "handlelength": 1,
    "columnspacing": 1,
}
INSIDE: dict[str, Any] = {"loc": "best", "ncols": 3, "fontsize": 8}
BESIDE = 5  # most entries of a legend beside a title

Figures: TypeAlias = dict[str, float]


def read_log(path: Path) -> Log:
    """Read a run's log.jsonl into columns by name; the last line may be incomplete.

    Raises:
        ValueError: the path is no file, or another line is not a JSON object of numbers with a
            step; names the line.
        OSError: the file cannot be read.
    """
    found: dict[str, tuple[list[int], list[float]]] = {}
    damaged = None
    for number, (_, line) in enumerate(lines(path), start=1):
        if damaged is not None:
            raise ValueError(
                f"{path} is damaged in line {damaged}; remove that line, or resume the run, which "
                "drops it"
            )
        if line is None:
            damaged = number
            continue
        for name, value in line.figures.items():
            steps, values = found.setdefault(name, ([], []))
            steps.append(line.step)
            values.append(value)
    return {name: Column(np.asarray(s), np.asarray(v, float)) for name, (s, v) in found.items()}


def curves(run: Path, times: Times, main: bool = True) -> Callable[[int, Figures], Figures]:
    """Return a watch that draws RUN/progress.png at the given times, on the main process.

    Args:
        run: the run folder.
        main: whether this is the main process.

    Returns:
        A function of the steps done and the figures of this step, which are not in the log yet. It
        returns no figures.
    """

    def watch(done: int, figures: Figures) -> Figures:
        path = run / FILE
        if main and times.due(done) and path.exists():
            log = read_log(path)
            for name, value in figures.items():
                log[name] = _appended(log.get(name), done, value)
            write(draw(log, run.resolve().name), run / "progress.png")
        return {}

    return watch


def _appended(column: Column | None, step: int, value: float) -> Column:
    if column is None:
        return Column(np.array([step]), np.array([value]))
    return Column(np.append(column.steps, step), np.append(column.values, value))


def draw(log: Log, title: str = "") -> Image.Image:
    """Draw the figures of a log, with a panel for each kind."""
    panels = [(name, paint) for name, shows, paint in PANELS if shows(log)]
    rows = max(1, -(-len(panels) // 2))
    figure = Figure(figsize=(10, 2.7 * rows + 0.3), dpi=100, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK)
    all_axes = figure.subplots(rows, 2, squeeze=False).flat
    for axes in list(all_axes)[len(panels) :]:
        axes.remove()
    for axes, (name, paint) in zip(figure.axes, panels, strict=False):
        axes.set_title(name, fontsize=10, loc="left", color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, lw=0.5)
        paint(axes, log)
        axes.set_xlim(left=0)
        if handles := axes.get_legend_handles_labels()[0]:
            beside = len(handles) <= BESIDE
            axes.legend(**({"ncols": len(handles), **LEGEND} if beside else INSIDE))
    figure.supxlabel("steps", fontsize=9, color=INK)
    return Image.open(io.BytesIO(png(figure))).convert("RGB").quantize(128)
