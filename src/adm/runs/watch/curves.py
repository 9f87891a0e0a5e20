"""Columns of log.jsonl -> PIL image in RUN/progress.png."""

import io
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter
from PIL import Image

from adm.pictures import png
from adm.runs.watch.drift import channel_names
from adm.runs.watch.previews import write
from adm.runs.watch.trend import Trend
from adm.runs.watch.watched import Watched
from adm.training.log import Column, Columns, LogLine, read_columns
from adm.training.loop import JUDGED

INK, ACCENT, PALE, WARM = "#1b1f24", "#0b6e8f", "#9aa4ad", "#c1502e"
QUARTERS = ("#0b6e8f", "#5b8c3a", "#d19a1f", "#c1502e")  # of the levels, the cleanest first
CHANNELS = (WARM, QUARTERS[1], ACCENT, PALE)
POINTS = 300  # most points of a smoothed curve
NARROWEST = 12  # least range of an axis of pixel values, of 255
LEAST = 10  # fewest steps that a point summarises, in logs of at least as many
BESIDE: dict[str, Any] = {  # of a legend beside the title, where it covers no data
    "loc": "lower right",
    "bbox_to_anchor": (1, 0.99),
    "borderaxespad": 0,
    "frameon": False,
    "fontsize": 8,
    "handlelength": 1,
    "columnspacing": 1,
}

Paint: TypeAlias = Callable[[Axes, Columns], None]


def watch_curves(run: Watched) -> Callable[[int, dict[str, float]], dict[str, float]]:
    """Return a watch that draws RUN/progress.png when it is due, on the main process.

    Returns:
        A function of the steps done and the figures of this step, which are not in the log yet. It
        returns no figures.
    """

    def watch(done: int, figures: dict[str, float]) -> dict[str, float]:
        if run.devices.main and run.due(done):
            log = read_columns(run.folder, LogLine(done, figures))
            write(draw(log, run.folder.resolve().name), run.folder / "progress.png")
        return {}

    return watch


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
        axes.legend(**BESIDE, ncols=len(axes.get_legend_handles_labels()[0]))
    figure.supxlabel("steps", fontsize=9, color=INK)
    return Image.open(io.BytesIO(png(figure))).convert("RGB").quantize(128)


def has(log: Columns, name: str) -> bool:
    """Return whether a log has a figure that was finite once."""
    return name in log and bool(np.isfinite(log[name].values).any())


def smooth(column: Column) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return last step, mean, 10th and 90th percentile of up to `POINTS` stretches of steps."""
    finite = np.isfinite(column.values)
    steps, values = column.steps[finite], column.values[finite]
    count = int(np.clip(len(steps) // LEAST, min(LEAST, len(steps)), POINTS))
    parts = np.array_split(values, count) if count else []
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64) - 1
    low, high = (np.array([np.percentile(part, q) for part in parts]) for q in (10, 90))
    return steps[ends], np.array([part.mean() for part in parts]), low, high


def _band(axes: Axes, column: Column, label: str) -> None:
    """Draw a figure that each step has: its mean, between its percentiles."""
    steps, mean, low, high = smooth(column)
    axes.fill_between(steps, low, high, color=ACCENT, alpha=0.18, lw=0)
    axes.plot(steps, mean, color=ACCENT, lw=1.3, label=f"{label} (10% to 90%)")


def _points(axes: Axes, column: Column, label: str, colour: str = INK) -> None:
    """Draw a figure that the steps of validation and previews have."""
    axes.plot(*column, "o-", color=colour, ms=3, lw=1, label=label)


def _scale(axes: Axes, name: str) -> None:
    if name == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    elif min(np.nanmin(line.get_ydata()) for line in axes.lines) > 0:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1, 1.5, 2, 3, 5, 8) if high < 50 * low else (1, 3))
        )
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _in_training(name: str) -> Paint:
    """Draw a figure in training and in validation."""

    def paint(axes: Axes, log: Columns) -> None:
        _band(axes, log[name], "batches")
        if has(log, f"validation/{name}"):
            _points(axes, log[f"validation/{name}"], "held out, average weights")
        _scale(axes, name)

    return paint


def _quarters(name: str) -> Paint:
    """Draw a figure of validation in each quarter of the levels."""

    def paint(axes: Axes, log: Columns) -> None:
        labels = ("least noise: q1", "q2", "q3", "q4: most")
        for i, (label, colour) in enumerate(zip(labels, QUARTERS, strict=True), start=1):
            _points(axes, log[f"validation/{name}_q{i}"], label, colour)
        _scale(axes, name)

    return paint


def _gap(axes: Axes, log: Columns) -> None:
    axes.axhline(0, color=PALE, lw=1)
    shares = "validation/accuracy" in log
    label = "training minus held-out accuracy" if shares else "held-out minus training loss"
    _points(axes, log["validation/gap"], label, WARM)


def _distance(axes: Axes, log: Columns) -> None:
    """Draw the distance with its interval, its trend in words, and what that foretells."""
    name, trend = JUDGED["distance"], Trend.of(log)
    steps, low, high = (log[name].steps, *(log[name + end].values for end in ("_low", "_high")))
    axes.fill_between(steps, low, high, color=ACCENT, alpha=0.18, lw=0)
    _points(axes, log[name], "at infinite N, with 95% interval", ACCENT)
    if "guided/frechet_at_infinity" in log:
        _points(axes, log["guided/frechet_at_infinity"], "guided", WARM)
    if trend is not None:
        axes.set_xlabel(trend.text(), fontsize=8, color=INK)
    if trend is not None and trend.falls:
        value, low, high = trend.at(2 * trend.last)
        bar = {"color": PALE, "fmt": "o", "ms": 3, "capsize": 3, "label": "to be expected"}
        axes.errorbar([2 * trend.last], [value], [[value - low], [high - value]], **bar)
    _scale(axes, name)


def _precision_recall(axes: Axes, log: Columns) -> None:
    for name, colour in (("precision", ACCENT), ("recall", WARM)):
        _points(axes, log[f"scores/{name}"], name, colour)


def _norm(axes: Axes, log: Columns) -> None:
    _band(axes, log["gradient_norm"], "norm before clipping")
    _scale(axes, "gradient_norm")
    for name, column in log.items():
        if name.startswith("skipped"):
            label = f"{name.replace('_', ': ')} ({len(column.steps)})"
            height, at_bottom = np.full(len(column.steps), 0.04), axes.get_xaxis_transform()
            axes.plot(column.steps, height, "x", color=WARM, transform=at_bottom, label=label)


def _colours(what: str) -> Paint:
    """Draw a moment of the pixels of each channel of samples, and dashed that of the data."""

    def paint(axes: Axes, log: Columns) -> None:
        names = [name for name in log if name.startswith(f"samples/{what}_c")]
        for i, (name, label) in enumerate(zip(names, channel_names(len(names)), strict=True)):
            colour = INK if len(names) == 1 else CHANNELS[i % len(CHANNELS)]
            _points(axes, log[name], label, colour)
            if (data := log.get(name.replace("samples", "data"))) is not None:
                legend = "data" if name == names[-1] else None
                axes.axhline(data.values[0], color=colour, lw=1, ls="--", label=legend)
        low, high = axes.get_ylim()
        spare = max(0, NARROWEST - (high - low)) / 2
        axes.set_ylim(low - spare, high + spare)
        axes.set_ylabel("pixels, 0 to 255", fontsize=8, color=INK)

    return paint


PANELS: tuple[tuple[str, str, Paint], ...] = (  # title, the figure that it needs, how it is drawn
    ("loss", "loss", _in_training("loss")),
    ("held-out loss", "validation/loss_q4", _quarters("loss")),
    ("accuracy", "accuracy", _in_training("accuracy")),
    ("held-out accuracy", "validation/accuracy_q4", _quarters("accuracy")),
    ("gap to training images", "validation/gap", _gap),
    ("gradient norm", "gradient_norm", _norm),
    ("distance of samples", JUDGED["distance"], _distance),
    ("precision and recall of samples", "scores/recall", _precision_recall),
    ("channel means", "samples/mean_c0", _colours("mean")),
    ("channel deviations", "samples/std_c0", _colours("std")),
)
