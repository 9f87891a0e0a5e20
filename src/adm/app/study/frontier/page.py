"""Frontier, frontier folder -> a self-contained HTML page, Markdown, JSON and PNG figures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adm.app.report import Block, Cell, Figure, Folded, Note, Table, Title
from adm.app.report import markdown as markdown_of
from adm.app.report import page as page_of
from adm.app.scoring import Score, title
from adm.app.study.curve import parts
from adm.app.study.frontier.choose import Budget, factor, recommend, spoken
from adm.app.study.frontier.plots import Dot, Panel, figure
from adm.app.study.frontier.stored import FILE, Distance, Frontier, Measured, options, save
from adm.app.study.frontier.trial import DISTANCE, describe_left_out
from adm.app.study.page import MARKED, SAME_NOISE, WIDE, grid_of, marks, model_facts, rows_of
from adm.app.study.study import SAMPLES, Study, as_text
from adm.data.export import safe_names
from adm.pictures import png
from adm.shown import exactly
from adm.store import files

PAGE, TEXT = "frontier.html", "report.md"
FAST, BEST = "fast", "best"
ERROR = "root mean square error"
LEAD = (
    "How long an image takes on this machine, and how good it is: every point was sampled from the "
    "same noise."
)
FIGURE_NOTE = (
    "A line joins the points of a sampler that no other of its points beats in both; the dashed "
    "line is the frontier of all. Bars are 95% intervals over samples of the same generator. Both "
    "axes are logarithmic."
)
WITHIN = (
    "Fast: the fastest settings whose distance lies within the 95% interval of the lowest one, by "
    "all features. Best: of these, those of the lowest distance by {first}. The other rows are for "
    "a time for an image: the lowest distance by {first}, and the best settings where they fit."
)


def write(frontier: Frontier, study: Study, model: str, out: Path) -> list[Path]:
    """Write frontier.html, report.md, frontier.json and a PNG file per figure into `out`.

    Args:
        study: what was sampled; the samples are in `out`.
        model: as the user has given it, with its options, for the commands.
    """
    drawn = figures(frontier)
    heading = f"{study.name}: time against quality"
    blocks: list[Block] = [
        Title("Result"),
        Note(sentences(frontier), "result"),
        *drawn.values(),
        Note([FIGURE_NOTE], "quiet"),
        *_samples(frontier, study, out),
        *_scored(frontier),
        *_first_pass(frontier),
        *_recommended(frontier, model),
        Note(frontier.notes, "quiet"),
    ]
    settings = {name: value for name, value in asdict(frontier).items() if name != "points"}
    facts = _facts(frontier, study)
    html = page_of(heading, blocks, lead=LEAD, facts=facts, settings=settings)
    written = {name: each.content for name, each in drawn.items()}
    written[TEXT] = markdown_of(heading, blocks).encode()
    written[PAGE] = html.encode()
    for name, content in written.items():
        files.write_bytes(out / name, content)
    save(frontier, out / FILE)
    return [out / name for name in (*written, FILE)]


def figures(frontier: Frontier) -> dict[str, Figure]:
    """Draw time against the distance by each of the features, and against the error."""
    drawn = {}
    for name in frontier.features:
        what = title(DISTANCE, name)

        def value(one: Measured, name: str = name) -> Score | None:
            return as_score(one.distances[name]) if one.distances else None

        about = f"Points that were sampled in full, {what}"
        picture = png(figure(_panels(frontier, value), what, about))
        drawn[f"frontier-{safe_names([name])[0]}.png"] = Figure(picture, about, WIDE)
    if panels := _panels(frontier, lambda one: Score(one.error) if one.error else None):
        about = (
            f"First pass, all points: {ERROR} of {frontier.trial_count} images against the "
            "converged ones"
        )
        picture = png(figure(panels, ERROR, about))
        drawn["frontier-error.png"] = Figure(picture, about, WIDE)
    return drawn


def sentences(frontier: Frontier) -> list[str]:
    """Return a sentence for each scale on what it takes to be as good as the best."""
    said = []
    for scale in frontier.scales:
        if (chosen := recommend(frontier, scale)) is None:
            continue
        fast, best = chosen.fast, chosen.best
        lead = (
            f"At scale {exactly(scale)}, {best.way} is best, with a "
            f"{title(DISTANCE, frontier.features[0])} of {_value(frontier, best)} in "
            f"{spoken(best.seconds)} an image"
        )
        if fast is best:
            said.append(f"{lead}; nothing faster is as good by all features.")
            continue
        said.append(
            f"{lead}; {fast.way} takes {spoken(fast.seconds)}, "
            f"{best.seconds / fast.seconds:.1f} times less, for {_value(frontier, fast)}."
        )
    return said


def command(frontier: Frontier, model: str, point: Measured) -> str:
    """Return the command that samples with the settings of a point.

    Args:
        model: as the user has given it, with its options.
    """
    shared = {name: value for name, value in frontier.shared.items() if name != "seed"}
    words = ["adm sample", model, options(point.settings), options(shared)]
    return " ".join(filter(None, [*words, "--out out/samples"]))


def as_score(distance: Distance) -> Score:
    """Return a stored distance as a score."""
    low, high = (math.nan if x is None else x for x in (distance.low, distance.high))
    return Score(distance.value, low, high)


def _panels(frontier: Frontier, value: Callable[[Measured], Score | None]) -> list[Panel]:
    panels = []
    for scale in frontier.scales:
        dots: dict[int, Dot] = {}
        for one in frontier.at(scale):
            if (score := value(one)) is not None:
                sampler, grid = (as_text(one.settings.get(k, "")) for k in ("sampler", "grid"))
                dots[id(one)] = Dot(sampler, grid, one.seconds, score)
        chosen = _chosen(frontier, scale)
        named = {name: dots[id(one)] for name, one in chosen.items() if id(one) in dots}
        if dots:
            panels.append(Panel(scale, list(dots.values()), named))
    return panels


def _chosen(frontier: Frontier, scale: float) -> dict[str, Measured]:
    """Return the recommended points of a scale by their names; one that is both has both."""
    chosen = recommend(frontier, scale)
    if chosen is None:
        return {}
    if chosen.fast is chosen.best:
        return {f"{FAST}, {BEST}": chosen.best}
    return {FAST: chosen.fast, BEST: chosen.best}


def _samples(frontier: Frontier, study: Study, out: Path) -> list[Block]:
    """Return the samples of the recommended settings."""
    columns: dict[str, Path] = {}
    labels: Sequence[int] = []
    classes: Sequence[str] = []
    for scale in frontier.scales:
        for name, one in _chosen(frontier, scale).items():
            columns[f"scale {exactly(scale)}, {name}"] = out / SAMPLES / one.point.name
            job = study.job(one.point)
            labels, classes = labels or job.labels or [], classes or job.generator.classes
    if not columns:
        return []
    grid = grid_of(columns, rows_of(labels, classes, study.count))
    heading = "Samples, a class by row" if labels else "Samples"
    return [Title(heading), Note([SAME_NOISE]), grid]


def _settings_of(frontier: Frontier) -> list[str]:
    """Return the names of the settings of any point, without the scale."""
    names = dict.fromkeys(name for one in frontier.points for name in one.settings)
    return [name for name in names if name != "scale"]


def _lead(frontier: Frontier, one: Measured) -> list[str | Cell]:
    """Return the cells that all tables begin with."""
    settings = [as_text(one.settings.get(name, "")) for name in _settings_of(frontier)]
    calls = [str(one.network), str(one.classifier)]
    seconds = Cell(f"{one.seconds:.3g}", f"{one.low:.3g} to {one.high:.3g}")
    return [*settings, *calls, seconds, "NaN" if one.error is None else f"{one.error:.3f}"]


def _headings(frontier: Frontier) -> list[str]:
    names = [name.replace("_", " ") for name in _settings_of(frontier)]
    return [*names, "network calls", "classifier calls", "seconds an image", "error"]


def _scored(frontier: Frontier) -> list[Block]:
    """Return a table of the points of each scale that were sampled in full, the fastest first."""
    blocks: list[Block] = [Title("Points that were sampled in full")]
    for scale in frontier.scales:
        points = sorted(frontier.scored(scale), key=lambda one: one.seconds)
        columns = [[as_score(one.distances[name]) for one in points] for name in frontier.features]
        best = [marks(DISTANCE, scores) if scores else [] for scores in columns]
        rows = []
        for i, one in enumerate(points):
            cells = [Cell(*parts(s[i]), b[i]) for s, b in zip(columns, best, strict=True)]
            rows.append([*_lead(frontier, one), *cells])
        distances = [title(DISTANCE, name) for name in frontier.features]
        table = Table([*_headings(frontier), *distances], rows)
        blocks += [Title(f"Scale {exactly(scale)}", 3), table]
    return [*blocks, Note([MARKED], "quiet")]


def _first_pass(frontier: Frontier) -> list[Block]:
    """Return tables of all points after the first pass, the fastest first."""
    full = [each.point for each in frontier.points if each.distances]
    blocks: list[Block] = [Title("First pass"), Note(describe_left_out(frontier.points, full))]
    for scale in frontier.scales:
        points = sorted(frontier.at(scale), key=lambda one: (one.seconds, one.error or math.inf))
        rows = []
        for one in points:
            far = "" if one.error is None else f"{factor(one, points):.2f}"
            rows.append([*_lead(frontier, one), Cell(far, best=bool(one.distances))])
        table = Table([*_headings(frontier), "error / lowest of all as fast"], rows)
        blocks.append(Folded(f"All {len(rows)} points of scale {exactly(scale)}", [table]))
    return blocks


def _recommended(frontier: Frontier, model: str) -> list[Block]:
    """Return what each recommended point is for, with its command."""
    said = WITHIN.format(first=frontier.features[0])
    blocks: list[Block] = [Title("Recommended settings"), Note([said])]
    distances = [title(DISTANCE, name) for name in frontier.features]
    for scale in frontier.scales:
        if (chosen := recommend(frontier, scale)) is None:
            continue
        uses = [(FAST, chosen.fast), (BEST, chosen.best)]
        uses += [(_at_most(each), each.point) for each in chosen.budgets]
        rows: list[list[str | Cell]] = []
        for use, one in uses:
            values = [parts(as_score(one.distances[name]))[0] for name in frontier.features]
            line = Cell(command(frontier, model, one), code=True)
            rows.append([use, spoken(one.seconds), *values, line])
        table = Table(["for", "an image", *distances, "command"], rows)
        blocks += [Title(f"Scale {exactly(scale)}", 3), table]
    return blocks


def _at_most(budget: Budget) -> str:
    return f"--budget {spoken(budget.seconds).replace(' ', '')}"


def _value(frontier: Frontier, one: Measured) -> str:
    return parts(as_score(one.distances[frontier.features[0]]))[0]


def _facts(frontier: Frontier, study: Study) -> list[tuple[str, str]]:
    made: dict[str, Any] = {}
    for point in (frontier.points[0].point, frontier.points[-1].point):  # of both scales
        made |= study.job(point).manifest()
    full = sum(bool(each.distances) for each in frontier.points)
    return [
        *model_facts(made),
        ("points", f"{len(frontier.points)}, {full} of them in full"),
        ("images per point", f"{frontier.count:,}; {frontier.trial_count} in the first pass"),
        ("machine", frontier.machine),
        ("features", ", ".join(frontier.features)),
        *((name, as_text(value)) for name, value in frontier.shared.items()),
    ]
