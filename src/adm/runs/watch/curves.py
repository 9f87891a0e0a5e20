"""log.jsonl -> Columns by name; Columns -> PIL image in RUN/progress.png."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from adm.pictures import png
from adm.runs.watch.drift import channel_names
from adm.runs.watch.previews import write
from adm.runs.watch.watched import Watched
from adm.training.log import FILE, lines

INK, ACCENT, PALE, WARM = "#1b1f24", "#0b6e8f", "#9aa4ad", "#c1502e"
QUARTERS = ("#0b6e8f", "#5b8c3a", "#d19a1f", "#c1502e")  # of the levels, the cleanest first
CHANNELS = (WARM, QUARTERS[1], ACCENT, PALE, QUARTERS[2], INK)
POINTS = 300  # most points of a smoothed curve
EARLY = 0.2  # share of the steps whose percentages may lie outside the axis
NARROWEST = 12  # least range of an axis of pixel values, of 255
LEAST = 10  # fewest steps that a point summarises, in logs of at least as many
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


class Column(NamedTuple):
    """The values of one figure of the log, at the steps at which it was measured."""

    steps: np.ndarray  # (N,) int64, steps done
    values: np.ndarray  # (N,) float64; nan where it was not finite


Columns: TypeAlias = dict[str, Column]


def read_log(path: Path) -> Columns:
    """Read a run's log.jsonl into columns by name; the last line may be incomplete.

    Raises:
        ValueError: the path is no file, or another line is not a JSON object of numbers with a
            step; names the line.
        OSError: the file cannot be read.
    """
    columns: dict[str, tuple[list[int], list[float]]] = {}
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
            steps, values = columns.setdefault(name, ([], []))
            steps.append(line.step)
            values.append(value)
    return {name: Column(np.asarray(s), np.asarray(v, float)) for name, (s, v) in columns.items()}


def watch_curves(run: Watched) -> Callable[[int, Figures], Figures]:
    """Return a watch that draws RUN/progress.png when it is due, on the main process.

    Returns:
        A function of the steps done and the figures of this step, which are not in the log yet. It
        returns no figures.
    """

    def watch(done: int, figures: Figures) -> Figures:
        path = run.folder / FILE
        if run.devices.main and run.due(done) and path.exists():
            log = read_log(path)
            for name, value in figures.items():
                log[name] = _append(log.get(name), done, value)
            write(draw(log, run.folder.resolve().name), run.folder / "progress.png")
        return {}

    return watch


def _append(column: Column | None, step: int, value: float) -> Column:
    if column is None:
        return Column(np.array([step]), np.array([value]))
    return Column(np.append(column.steps, step), np.append(column.values, value))


def draw(log: Columns, title: str = "") -> Image.Image:
    """Draw the figures of a log, with a panel for each kind."""
    panels = [(name, paint) for name, needed, paint in PANELS if has(log, needed)]
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
            fits = len(handles) <= BESIDE
            axes.legend(**({"ncols": len(handles), **LEGEND} if fits else INSIDE))
    figure.supxlabel("steps", fontsize=9, color=INK)
    return Image.open(io.BytesIO(png(figure))).convert("RGB").quantize(128)


def smooth(column: Column) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return last step, mean, 10th and 90th percentile of up to `POINTS` stretches of steps."""
    finite = np.isfinite(column.values)
    steps, values = column.steps[finite], column.values[finite]
    count = int(np.clip(len(steps) // LEAST, min(LEAST, len(steps)), POINTS))
    parts = np.array_split(values, count) if count else []
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64) - 1
    low, high = (np.array([np.percentile(part, q) for part in parts]) for q in (10, 90))
    return steps[ends], np.array([part.mean() for part in parts]), low, high


def _band(axes: Axes, column: Column, colour: str, label: str) -> None:
    steps, mean, low, high = smooth(column)
    axes.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0)
    axes.plot(steps, mean, color=colour, lw=1.3, label=label)


def _log_scale(axes: Axes, *columns: Column) -> None:
    values = np.concatenate([c.values[np.isfinite(c.values)] for c in columns])
    if len(values) and values.min() > 0:
        axes.set_yscale("log")
        near = values.max() < 10 * values.min()
        subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if near else (1, 2, 5)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def as_percent(share: float, place: float = 0) -> str:
    """Format the tick of an axis of shares."""
    return f"{round(100 * share, 3):g}%"


def _percent(axes: Axes, *_: Column) -> None:
    """Scale an axis of shares to what is drawn, except in the first steps."""
    drawn = [np.asarray(line.get_xydata()) for line in axes.lines]
    drawn += [path.vertices for band in axes.collections for path in band.get_paths()]
    steps, shares = np.concatenate(drawn).T
    late = shares[(steps >= EARLY * steps.max()) & np.isfinite(shares)]
    if len(late):
        margin = max(0.005, 0.06 * np.ptp(late))
        # 100% is not the edge, which would cut the line in half.
        axes.set_ylim(max(0, late.min() - margin), min(1 + margin / 4, late.max() + margin))
    axes.yaxis.set_major_formatter(as_percent)


class Curve(NamedTuple):
    """A figure of the log that a panel shows: as points, or as a band of many steps."""

    name: str
    label: str
    colour: str
    is_band: bool = False


Paint: TypeAlias = Callable[[Axes, Columns], None]


def _curves(curves: Sequence[Curve], scale: Callable[..., None] | None = None) -> Paint:
    """Return a function that draws those curves of which the log has the figure.

    Args:
        scale: scales the axes to the columns that they show.
    """

    def paint(axes: Axes, log: Columns) -> None:
        present = [curve for curve in curves if curve.name in log]
        for name, label, colour, is_band in present:
            if is_band:
                _band(axes, log[name], colour, label)
            else:
                axes.plot(*log[name], "o-", color=colour, ms=3, lw=1, label=label)
        if scale is not None:
            scale(axes, *(log[curve.name] for curve in present))

    return paint


def _trained(name: str, scale: Callable[..., None]) -> Paint:
    """Draw a figure in training and in validation."""
    batches = Curve(name, "batches (10% to 90%)", ACCENT, is_band=True)
    return _curves([batches, Curve(f"validation/{name}", "held out, average weights", INK)], scale)


def _quarters(name: str, scale: Callable[..., None]) -> Paint:
    """Draw a figure of validation in each quarter of the levels."""
    labels = ("least noise: q1", "q2", "q3", "q4: most")
    styles = zip(labels, QUARTERS, strict=True)
    return _curves([Curve(f"{name}_q{i}", *one) for i, one in enumerate(styles, start=1)], scale)


def _gap(axes: Axes, log: Columns) -> None:
    axes.axhline(0, color=PALE, lw=1)
    shares = "validation/accuracy" in log
    label = "training minus held-out accuracy" if shares else "held-out minus training loss"
    axes.plot(*log["validation/gap"], "o-", color=WARM, ms=3, lw=1, label=label)
    if shares:
        axes.yaxis.set_major_formatter(as_percent)


def _rate(axes: Axes, log: Columns) -> None:
    axes.plot(*log["learning_rate"], color=INK, lw=1.2)
    axes.yaxis.set_major_formatter("{x:g}")


def _norm(axes: Axes, log: Columns) -> None:
    _band(axes, log["gradient_norm"], ACCENT, "norm before clipping (10% to 90%)")
    _log_scale(axes, log["gradient_norm"])
    for name, column in log.items():
        if name.startswith("skipped"):
            height = np.full(len(column.steps), 0.04)
            label = f"{name.replace('_', ': ')} ({len(column.steps)})"
            axes.plot(
                column.steps, height, "x", color=WARM, transform=axes.get_xaxis_transform(),
                label=label,
            )  # fmt: skip


def _colours(what: str) -> Paint:
    def paint(axes: Axes, log: Columns) -> None:
        names = [name for name in log if name.startswith(f"samples/{what}_c")]
        for i, (name, label) in enumerate(zip(names, channel_names(len(names)), strict=True)):
            colour = INK if len(names) == 1 else CHANNELS[i % len(CHANNELS)]
            axes.plot(*log[name], "o-", color=colour, ms=3, lw=1, label=label)
            if (data := log.get(name.replace("samples", "data"))) is not None:
                legend = "data" if name == names[-1] else None
                axes.axhline(data.values[0], color=colour, lw=1, ls="--", label=legend)
        low, high = axes.get_ylim()
        axes.set_ylabel("pixels, 0 to 255", fontsize=8, color=INK)
        spare = max(0, NARROWEST - (high - low)) / 2
        axes.set_ylim(low - spare, high + spare)

    return paint


def has(log: Columns, name: str) -> bool:
    """Return whether a log has a figure that was finite once."""
    return name in log and bool(np.isfinite(log[name].values).any())


PANELS: tuple[tuple[str, str, Paint], ...] = (  # title, the figure that it needs, how it is drawn
    ("loss", "loss", _trained("loss", _log_scale)),
    ("held-out loss", "validation/loss_q4", _quarters("validation/loss", _log_scale)),
    ("accuracy", "accuracy", _trained("accuracy", _percent)),
    ("held-out accuracy", "validation/accuracy_q4", _quarters("validation/accuracy", _percent)),
    ("gap to training images", "validation/gap", _gap),
    ("learning rate", "learning_rate", _rate),
    ("gradient norm", "gradient_norm", _norm),
    ("channel means", "samples/mean_c0", _colours("mean")),
    ("channel deviations", "samples/std_c0", _colours("std")),
)
