"""Frontier, frontier folder -> a self-contained HTML page, Markdown, JSON and PNG figures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from adm.app.scoring import Score
from adm.app.study.frontier.choose import recommended
from adm.app.study.frontier.plan import Candidates
from adm.app.study.frontier.plots import Dot, Panel, figure
from adm.app.study.frontier.run import pruned
from adm.app.study.frontier.stored import FILE, Frontier, Measured, save
from adm.app.study.frontier.summary import (
    BEST,
    FAST,
    as_score,
    distance_title,
    markdown,
    recommendation_headings,
    recommendations,
    scored_table,
    sentences,
    trial_table,
    within,
)
from adm.app.study.page import rows_of, sample_grid
from adm.app.study.plan import SAMPLES
from adm.app.study.summary import MARKED
from adm.app.study.template import rendered
from adm.data.export import safe_names
from adm.pictures import data_uri, png
from adm.shown import exactly
from adm.store import files

PAGE, TEXT = "frontier.html", "report.md"
LEAD = (
    "How long an image takes on this machine, and how good it is: every point was sampled from the "
    "same noise."
)
FIGURE_NOTES = (
    "A line joins the points of a sampler that no other of its points beats in both; the dashed "
    "line is the frontier of all. Bars are 95% intervals over samples of the same generator. Both "
    "axes are logarithmic.",
)
ERROR = "root mean square error"


class Figure(NamedTuple):
    """A figure of the page."""

    name: str
    about: str
    content: bytes


def write(frontier: Frontier, plan: Candidates, model: str, out: Path) -> list[Path]:
    """Write frontier.html, report.md, frontier.json and a PNG file per figure into `out`.

    Args:
        plan: what was sampled; the samples are in `out`.
        model: as the user has given it, with its options, for the commands.
    """
    drawn = figures(frontier)
    heading = f"{plan.model.name}: time against quality"
    written = {each.name: each.content for each in drawn}
    written[TEXT] = markdown(frontier, model, heading, _pruned(frontier)).encode()
    written[PAGE] = page(frontier, plan, model, drawn, heading, out).encode()
    for name, content in written.items():
        files.write_bytes(out / name, content)
    save(frontier, out / FILE)
    return [out / name for name in (*written, FILE)]


# Six parameters: what is shown, and the names that the page gives to it.
def page(
    frontier: Frontier,
    plan: Candidates,
    model: str,
    drawn: Sequence[Figure],
    heading: str,
    out: Path,
) -> str:
    """Render the HTML page."""
    labels, grid = _grid(frontier, plan, out)
    return rendered(
        "adm.app.study.frontier",
        "frontier.html",
        title=heading,
        lead=LEAD,
        facts=_facts(frontier, plan),
        sentences=sentences(frontier),
        figures=[{"about": each.about, "picture": data_uri(each.content)} for each in drawn],
        figure_notes=FIGURE_NOTES,
        labelled=bool(labels),
        grid=grid,
        scored=[scored_table(frontier, scale) for scale in frontier.scales],
        marked=MARKED,
        pruned=_pruned(frontier),
        trials=[trial_table(frontier, scale) for scale in frontier.scales],
        within=within(frontier),
        recommended=[(exactly(scale), rows) for scale, rows in recommendations(frontier, model)],
        recommended_headings=recommendation_headings(frontier),
        notes=frontier.notes,
        settings=json.dumps(_settings(frontier), indent=1),
    )


def figures(frontier: Frontier) -> list[Figure]:
    """Draw time against the distance by each of the features, and against the error."""
    found = []
    for name in frontier.features:
        what = distance_title(name)

        def value(one: Measured, name: str = name) -> Score | None:
            return as_score(one.distances[name]) if one.distances else None

        picture = figure(
            _panels(frontier, value), what, f"Points that were sampled in full, {what}"
        )
        file = f"frontier-{safe_names([name])[0]}.png"
        found.append(Figure(file, f"time against {what}", png(picture)))
    panels = _panels(frontier, lambda one: Score(one.error) if one.error else None)
    if panels:
        heading = (
            f"First pass, all points: {ERROR} of {frontier.trial_count} images against the "
            "converged ones"
        )
        picture = png(figure(panels, ERROR, heading))
        found.append(Figure("frontier-error.png", f"time against {ERROR}", picture))
    return found


def _panels(frontier: Frontier, value: Callable[[Measured], Score | None]) -> list[Panel]:
    panels = []
    for scale in frontier.scales:
        dots = {
            one.point: Dot(one.point.sampler, one.point.grid, one.seconds, score)
            for one in frontier.at(scale)
            if (score := value(one)) is not None
        }
        chosen = _chosen(frontier, scale)
        named = {name: dots[one.point] for name, one in chosen.items() if one.point in dots}
        if dots:
            panels.append(Panel(scale, list(dots.values()), named))
    return panels


def _chosen(frontier: Frontier, scale: float) -> dict[str, Measured]:
    """Return the recommended points of a scale by their names; one that is both has both."""
    chosen = recommended(frontier, scale)
    if chosen is None:
        return {}
    if chosen.fast.point == chosen.best.point:
        return {f"{FAST}, {BEST}": chosen.best}
    return {FAST: chosen.fast, BEST: chosen.best}


def _grid(
    frontier: Frontier, plan: Candidates, out: Path
) -> tuple[Sequence[int], dict[str, Any] | None]:
    """Return the labels that rows are named by, and the samples of the recommended settings."""
    columns: dict[str, Path] = {}
    labels: Sequence[int] = []
    for scale in frontier.scales:
        for name, one in _chosen(frontier, scale).items():
            heading = f"scale {exactly(scale)}, {name}"
            columns[heading] = out / SAMPLES / one.point.name
            labels = labels or plan.job(one.point).labels or []
    if not columns:
        return labels, None
    classes = plan.job(frontier.points[-1].point).generator.classes
    return labels, sample_grid("", columns, rows_of(labels, classes, plan.count))


def _facts(frontier: Frontier, plan: Candidates) -> list[tuple[str, str]]:
    points = len(frontier.points)
    full = sum(bool(each.distances) for each in frontier.points)
    return [
        ("model", f"{plan.model.name}, {plan.model.trained_steps:,} steps of training"),
        ("classifier", plan.classifier.name if plan.classifier else "none"),
        ("points", f"{points}, {full} of them in full"),
        ("images per point", f"{frontier.count:,}; {frontier.trial_count} in the first pass"),
        ("machine", str(frontier.machine)),
        ("features", ", ".join(frontier.features)),
        ("seed", str(frontier.seed)),
    ]


def _pruned(frontier: Frontier) -> list[str]:
    full = [each.point for each in frontier.points if each.distances]
    return pruned(frontier.points, full)


def _settings(frontier: Frontier) -> dict[str, Any]:
    """Return everything that was recorded but the points, which the tables show."""
    return {name: value for name, value in asdict(frontier).items() if name != "points"}
