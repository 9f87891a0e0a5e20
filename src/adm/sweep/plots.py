"""Lines of scores -> matplotlib Figure: distance, precision and recall over the scale."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adm.evaluation import Score
from adm.sweep.curve import Line

INK, PALE, FAINT = "#1b1f24", "#6a737d", "#e3e7ea"
LINES = ("#0b6e8f", "#c1502e", "#5b8c3a", "#d19a1f", "#7a4f9a", "#3d4a57")
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
        lines: at least one, all of at least one value of `x`.
        what: the setting on the x axis, such as `guidance scale`.
        distance: title of the Fréchet distance, which names the features unless it is FID.
        features: name of the network, for precision and recall.
    """
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(12.6, 3.9), dpi=144, layout="constrained")
        left, middle, right = drawn.subplots(1, 3)
        places = _places(lines)
        for line, colour in zip(lines, _colours(), strict=False):
            x = [places(value) for value in line.x]
            _band(left, x, line.distance, colour, line.name or None)
            _best(left, x, line.distance, colour)
            _band(middle, x, line.precision, colour, "precision" if len(lines) == 1 else None)
            dashed = LINES[1] if len(lines) == 1 else colour
            _band(middle, x, line.recall, dashed, "recall" if len(lines) == 1 else None, "--")
            _path(right, line, colour)
        for axes in (left, middle):
            _ticks(axes, lines, places, what)
        left.set_title(distance)
        left.set_ylim(bottom=0)
        several = "  (recall dashed)" if len(lines) > 1 else ""
        middle.set_title(f"Precision and recall{several}")
        middle.set_ylim(0, 1.02)
        right.set_title(f"Precision against recall, by {what}")
        right.set_xlabel(f"recall ({features})")
        right.set_ylabel(f"precision ({features})")
        if len(lines) > 1:
            left.legend(fontsize=8)
        else:
            middle.legend(fontsize=8)
    return drawn


def _colours() -> list[str]:
    return [*LINES] * 8


def _places(lines: Sequence[Line]) -> Callable[[float], float]:
    """Return equally spaced positions of the values, for scales that usually double."""
    values = sorted({value for line in lines for value in line.x})
    place = {value: float(i) for i, value in enumerate(values)}
    return lambda value: place[value]


def _ticks(axes: Axes, lines: Sequence[Line], places: Callable[[float], float], what: str) -> None:
    values = sorted({value for line in lines for value in line.x})
    axes.set_xticks([places(value) for value in values], [f"{value:g}" for value in values])
    axes.set_xlabel(what)
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)


def _band(
    axes: Axes,
    x: Sequence[float],
    scores: Sequence[Score],
    colour: str,
    label: str | None,
    style: str = "-",
) -> None:
    value, low, high = _columns(scores)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(x, value, style, color=colour, marker="o", ms=4, lw=1.6, label=label)


def _best(axes: Axes, x: Sequence[float], scores: Sequence[Score], colour: str) -> None:
    value = _columns(scores)[0]
    place = int(value.argmin())
    axes.plot(x[place], value[place], "o", ms=10, mfc="none", mec=colour, mew=1.4)
    axes.annotate(
        f"{value[place]:.3g}",
        (x[place], value[place]),
        xytext=(0, -16),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=colour,
    )


def _path(axes: Axes, line: Line, colour: str) -> None:
    """Draw precision against recall; each point has its setting and both intervals."""
    (x, x_low, x_high), (y, y_low, y_high) = _columns(line.recall), _columns(line.precision)
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
    for value, a, b in zip(line.x, x, y, strict=True):
        axes.annotate(
            f"{value:g}", (a, b), xytext=(5, 5), textcoords="offset points", fontsize=8, color=INK
        )
    axes.grid(color=FAINT, lw=0.8)
    axes.set_axisbelow(True)


def _columns(scores: Sequence[Score]) -> np.ndarray:
    """Return (3, N): values, lower and upper ends; an unknown end is the value itself."""
    value, low, high = np.array([(s.value, s.low, s.high) for s in scores]).T
    return np.stack([value, np.fmin(low, value), np.fmax(high, value)])
