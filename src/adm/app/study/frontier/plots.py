"""Points of several scales -> matplotlib Figure: time against error or distance, by sampler."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from adm.app.scoring import Score
from adm.app.study.frontier.choose import on_frontier
from adm.app.study.plots import FAINT, INK, LINES, PALE, STYLE, columns
from adm.shown import exactly

MARKERS = "osD^vPX"  # one for each grid
WIDTH, HEIGHT = 6.3, 4.2  # inches of a panel


class Dot(NamedTuple):
    """A point of a panel; its sampler decides the colour, and its grid the marker."""

    sampler: str
    grid: str
    seconds: float
    value: Score


class Panel(NamedTuple):
    """The points of a scale, and those among them that carry a name."""

    scale: float
    dots: Sequence[Dot]
    named: Mapping[str, Dot]


def figure(panels: Sequence[Panel], what: str, heading: str) -> Figure:
    """Draw a panel for each scale.

    Args:
        panels: at least one, of at least one dot each.
        what: the y axis.
        heading: written once at the top.
    """
    every = [dot for panel in panels for dot in panel.dots]
    colours = dict(zip(dict.fromkeys(dot.sampler for dot in every), cycle(LINES), strict=False))
    markers = dict(zip(dict.fromkeys(dot.grid for dot in every), cycle(MARKERS), strict=False))
    with matplotlib.rc_context(STYLE):
        size = (WIDTH * max(2, len(panels)), HEIGHT)
        drawn = Figure(figsize=size, dpi=144, layout="constrained")
        drawn.suptitle(heading, x=0.006, ha="left", fontsize=9, color=PALE)
        places = drawn.subplots(1, max(2, len(panels)), squeeze=False)[0]
        for axes, panel in zip(places, panels, strict=False):
            _panel(axes, panel, colours, markers)
            axes.set_title(f"Scale {exactly(panel.scale)}")
            axes.set_ylabel(what)
        for axes in places[len(panels) :]:
            axes.set_axis_off()
        _legend(drawn, colours, markers)
    return drawn


def _panel(
    axes: Axes, panel: Panel, colours: Mapping[str, str], markers: Mapping[str, str]
) -> None:
    for dot in panel.dots:
        y, low, high = columns([dot.value])[:, 0]
        style: dict[str, Any] = {"color": colours[dot.sampler], "marker": markers[dot.grid]}
        yerr = [[y - low], [high - y]]
        axes.errorbar(dot.seconds, y, yerr=yerr, ls="", ms=4, elinewidth=0.8, alpha=0.75, **style)
    for sampler, colour in colours.items():
        x, y = _steps([dot for dot in panel.dots if dot.sampler == sampler])
        axes.plot(x, y, color=colour, lw=1.3, alpha=0.85)
    x, y = _steps(panel.dots)
    last = max(dot.seconds for dot in panel.dots)
    axes.step([*x, last], [*y, y[-1]], where="post", color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
    for name, dot in panel.named.items():
        _name(axes, name, dot)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("seconds an image")
    axes.grid(color=FAINT, lw=0.8, which="both")
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _steps(dots: Sequence[Dot]) -> tuple[list[float], list[float]]:
    """Return times and values of the dots that no other one beats in both."""
    found = on_frontier(dots, lambda dot: dot.seconds, lambda dot: dot.value.value)
    return [dot.seconds for dot in found], [dot.value.value for dot in found]


def _name(axes: Axes, name: str, dot: Dot) -> None:
    axes.plot(dot.seconds, dot.value.value, "o", ms=11, mfc="none", mec=INK, mew=1.3)
    axes.annotate(
        name,
        (dot.seconds, dot.value.value),
        xytext=(0, -17),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=INK,
    )


def _legend(drawn: Figure, colours: Mapping[str, str], markers: Mapping[str, str]) -> None:
    """Name samplers by their colours, grids by their markers, and the frontier."""
    empty = np.array([])
    entries = [Line2D(empty, empty, color=colour, label=name) for name, colour in colours.items()]
    entries += [
        Line2D(empty, empty, color=PALE, marker=marker, ls="", ms=5, label=name)
        for name, marker in markers.items()
    ]
    entries.append(Line2D(empty, empty, color=INK, lw=1, ls=(0, (4, 3)), label="frontier"))
    drawn.legend(handles=entries, loc="outside lower left", ncols=8, fontsize=8)
