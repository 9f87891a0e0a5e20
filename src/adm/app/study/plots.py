"""Scores -> matplotlib Figure: distance, precision and recall over a setting."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adm.app.study.curve import Line, Series, lowest_of_all
from adm.scoring import Score

INK, PALE, FAINT = "#1b1f24", "#6a737d", "#e3e7ea"
LINES = ("#0b6e8f", "#c1502e", "#5b8c3a", "#d19a1f", "#7a4f9a", "#3d4a57")
NEAR = 0.04  # of an axis, the distance at which two labels would overlap
STYLE: Any = {  # of matplotlib's rc parameters
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "legend.frameon": False,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def figure(lines: Sequence[Line], what: str, distance: str, features: str) -> Figure:
    """Draw three panels: distance, precision and recall, and precision against recall.

    Args:
        lines: at least one, all of at least one value of `x`, in the same order; the values are
            drawn at equal spacing.
        what: the setting on the x axis, such as `guidance scale`.
        distance: title of the Fréchet distance, without the name of the features.
        features: their name, written once at the top.
    """
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(12.6, 3.9), dpi=144, layout="constrained")  # inches
        drawn.suptitle(f"By {features}", x=0.006, ha="left", fontsize=9, color=PALE)
        left, middle, right = drawn.subplots(1, 3)
        values = list(dict.fromkeys(value for line in lines for value in line.x))
        for line, colour in zip(lines, [*LINES] * 8, strict=False):
            x = [values.index(value) for value in line.x]
            _band(left, x, line.distance, colour, line.name or None)
            _best(left, x, line.distance, colour)
            _band(middle, x, line.precision, colour, "precision" if len(lines) == 1 else None)
            dashed = LINES[1] if len(lines) == 1 else colour
            _band(middle, x, line.recall, dashed, "recall" if len(lines) == 1 else None, "--")
            _path(right, line, colour)
        for line in lines:
            _label(right, line)
        for axes in (left, middle):
            axes.set_xticks(range(len(values)), values)
            axes.set_xlabel(what)
            axes.grid(axis="y", color=FAINT, lw=0.8)
            axes.set_axisbelow(True)
        left.set_title(distance)
        _fit(left, math.inf)
        several = "  (recall dashed)" if len(lines) > 1 else ""
        middle.set_title(f"Precision and recall{several}")
        _fit(middle, 1)
        right.set_title(f"Precision against recall, by {what}")
        right.set_xlabel("recall")
        right.set_ylabel("precision")
        if len(lines) > 1:
            left.legend(fontsize=8)
        else:
            middle.legend(fontsize=8)
    return drawn


def _band(
    axes: Axes,
    x: Sequence[float],
    series: Series,
    colour: str,
    label: str | None,
    style: str = "-",
) -> None:
    value, low, high = columns(series.scores)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(x, value, style, color=colour, marker="o", ms=4, lw=1.6, label=label)


def _fit(axes: Axes, most: float) -> None:
    """Scale the y axis to the data, with room for a number below; values are from 0 to `most`."""
    axes.margins(y=0.14)
    low, high = axes.get_ylim()
    axes.set_ylim(-0.03 * high if low < 0.3 * high else low, min(high, 1.02 * most))


def _best(axes: Axes, x: Sequence[float], series: Series, colour: str) -> None:
    """Ring the lowest score, if its interval is below all others."""
    place = lowest_of_all(series.scores)
    if place is None:
        return
    best = series.scores[place]
    axes.plot(x[place], best.value, "o", ms=10.5, mfc="none", mec=colour, mew=1.3)
    below = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": colour}
    axes.annotate(best.parts()[0], (x[place], best.value), (0, -17), **below)


def _path(axes: Axes, line: Line, colour: str) -> None:
    """Draw precision against recall; each point has both intervals."""
    (x, x_low, x_high), (y, y_low, y_high) = (
        columns(each.scores) for each in (line.recall, line.precision)
    )
    axes.errorbar(
        x,
        y,
        xerr=(x - x_low, x_high - x),
        yerr=(y - y_low, y_high - y),
        fmt="o-",
        color=colour,
        ecolor=colour,
        elinewidth=0.7,
        alpha=0.9,
        ms=4,
        lw=1.4,
    )
    axes.grid(color=FAINT, lw=0.8)
    axes.set_axisbelow(True)


def _label(axes: Axes, line: Line) -> None:
    """Write the setting beside each point; successive points at almost one place share a label."""
    size = np.ptp(np.array([axes.get_xlim(), axes.get_ylim()]), axis=1)
    groups: list[tuple[np.ndarray, list[str]]] = []
    both = line.recall.scores, line.precision.scores
    for value, recall, precision in zip(line.x, *both, strict=True):
        place = np.array([recall.value, precision.value])
        if groups and (abs(place - groups[-1][0]) < NEAR * size).all():
            groups[-1][1].append(value)
        else:
            groups.append((place, [value]))
    for (a, b), values in groups:
        text = ", ".join(values)
        axes.annotate(text, (a, b), (5, 5), textcoords="offset points", fontsize=8, color=INK)


def columns(scores: Sequence[Score]) -> np.ndarray:
    """Return (3, N): values, lower and upper ends; an unknown end is the value itself."""
    value, low, high = np.array([(s.value, s.low, s.high) for s in scores]).T
    return np.stack([value, np.fmin(low, value), np.fmax(high, value)])
