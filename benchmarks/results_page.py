"""Measured rows of a Contest -> tables and a figure, in a folder and in docs/results/results.md.

Rows that have not been measured are left out.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from results_plan import CHOSEN, FEW, Contest, Row
from results_scores import SCORES, of_few
from results_sweeps import AT_INFINITY, distance_of, draw, read_sweeps

from adm.app.study.plots import INK, LINES, STYLE
from adm.scoring import Score
from adm.store.files import write_text

PAGE, IMAGES, STORED = "results/results.md", "images", "results"
MADE = "make results"
COLUMNS = {  # of the table; the files that are published beside it have all scores
    AT_INFINITY: "Fréchet distance at infinite N",
    "precision": "precision",
    "recall": "recall",
}
SPACES = {  # of the table of the rows that the claims are about
    AT_INFINITY: "distance",
    "spatial_frechet": "spatial distance",
    "copies": "likely copies",
}
COSTS = ("parameters", "core-hours", "network calls", "classifier calls", "ms an image")


def write(measured: dict[str, Any], contest: Contest, place: Path, docs: Path | None) -> None:
    """Write table.md and curve.png, and update docs/ if that is given."""
    text = tables(measured, contest)
    write_text(place / "table.md", text + "\n")
    curve(contest, measured, place).savefig(place / "curve.png")
    print(text)
    if docs is not None:
        page = docs / PAGE
        write_text(page, between(page.read_text("utf-8"), contest.name, text))
        shutil.copytree(place / SCORES, docs / STORED / contest.name, dirs_exist_ok=True)
        shutil.copyfile(place / "curve.png", docs / IMAGES / f"curve-{contest.name}.png")


def tables(measured: dict[str, Any], contest: Contest) -> str:
    """Return the tables of scores and of costs; the figure shows the sweeps."""
    parts = (quality(measured, contest), spaces(measured, contest), costs(measured, contest))
    return "\n\n".join(part for part in parts if part)


def between(page: str, name: str, text: str, command: str = MADE) -> str:
    """Replace the text between the two comments of a section."""
    start, end = f"<!-- {name}: `{command}` -->", f"<!-- end of {name} -->"
    before, opening, rest = page.partition(start)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise ValueError(f"the page must have the lines {start} and {end}")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def quality(measured: dict[str, Any], contest: Contest) -> str:
    """Return the table of scores, with 95% intervals."""
    first = contest.features[0]
    head = ["", *COLUMNS.values(), f"accuracy, {contest.judge}"]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for row in shown(measured, contest):
        scores = measured[row.name]["scores"]
        cells = [scored(scores, key, first) for key in COLUMNS]
        cells.append(scores.get(contest.judge, {}).get("accuracy"))
        rows.append([_titled(row, measured), *map(_cell, cells)])
    return table(rows)


def spaces(measured: dict[str, Any], contest: Contest) -> str:
    """Return the table of the rows that the claims are about, in every space that they have."""
    rows = [row for row in shown(measured, contest) if row.claimed]
    first, *others = contest.features
    spatial, copies = (first, "spatial_frechet"), (contest.judge, "copies")
    columns = {
        f"{SPACES[key]}, {features}": [
            measured[row.name]["scores"].get(features, {}).get(key) for row in rows
        ]
        for features, key in (spatial, *((each, AT_INFINITY) for each in others), copies)
    }
    columns = {head: scores for head, scores in columns.items() if any(scores)}
    if not columns:
        return ""
    lines = [["", *columns], ["---", *["--:"] * len(columns)]]
    for row, *scores in zip(rows, *columns.values(), strict=True):
        lines.append([_titled(row, measured), *map(_cell, scores)])
    return table(lines)


def scored(scores: dict[str, dict[str, Score]], key: str, features: str) -> Score | None:
    """Return a score; the recall is that of the first images, of which all rows have as many."""
    few = scores.get(of_few(features), {}) if key == "recall" else {}
    return few.get(key, scores[features].get(key))


def costs(measured: dict[str, Any], contest: Contest) -> str:
    """Return the table of what training and sampling cost; empty without rows.

    The times are left out if they are not known.
    """
    models = [row for row in shown(measured, contest) if row.model is not None]
    if not models:
        return ""
    times = measured.get("times")
    head = ["", *(COSTS if times else COSTS[:-1])]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for row in models:
        own = measured[row.name]
        cells = [
            _titled(row, measured),
            f"{own['parameters'] / 1e6:.1f} M",
            f"{own['core_hours']:.1f}",
            f"{own['calls']['network']}",
            f"{own['calls']['classifier'] or ''}",
        ]
        if times:
            cells.append(_time(own.get("ms")))
        rows.append(cells)
    if not times:
        return table(rows)
    note = f"Times: medians and quartiles, one thread, {times['processor']}, torch "
    return f"{table(rows)}\n\n{note}{times['versions']['torch']}."


def shown(measured: dict[str, Any], contest: Contest) -> list[Row]:
    """Return the rows that have been measured."""
    return [row for row in contest.rows if row.name in measured]


def curve(contest: Contest, measured: dict[str, Any], place: Path) -> Figure:
    """Draw precision and distance against recall: truncation, guidance, and real images."""
    first = contest.features[0]
    marks = {"guided-few": "^", "autoguided": "s", contest.rows[0].name: "*"}
    marked = [
        row
        for row in shown(measured, contest)
        if row.name in marks and measured[row.name]["count"] >= FEW  # fewer are not comparable
    ]
    sweeps = read_sweeps(place)
    keys = "precision", distance_of(sweeps, first)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.2, 4.4), dpi=144, layout="constrained")
        for axes, key in zip(figure.subplots(1, 2), keys, strict=True):
            for sweep, colour in zip(sweeps, LINES, strict=False):
                draw(axes, sweep, key, first, colour)
            for row in marked:
                own, label = measured[row.name]["scores"], _titled(row, measured)
                x, y = (scored(own, each, first) for each in ("recall", key))
                assert x is not None
                assert y is not None
                axes.plot(x.value, y.value, marks[row.name], color=INK, ms=8, label=label)
            axes.margins(0.06)
        figure.axes[0].legend(fontsize=8)
    return figure


def _titled(row: Row, measured: dict[str, Any]) -> str:
    """Return the title of a row, with the value that was chosen for it."""
    options = measured[row.name]["options"]
    chosen = [f"{key} {options[key]:g}" for key, value in row.options.items() if value == CHOSEN]
    return f"{row.title} ({chosen[0]})" if chosen else row.title


def table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(score: Score | None) -> str:
    return "" if score is None else score.text()


def _time(quartiles: list[float] | None) -> str:
    """Return the median with the other quartiles; empty for a row that was not timed."""
    if quartiles is None:
        return ""
    low, middle, high = map(_digits, quartiles)
    return f"{middle} ({low} to {high})"


def _digits(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"
