"""Result, sample folders -> a self-contained HTML page, Markdown, JSON and PNG figures.

A study has a figure along each setting with an order; one whose seconds are known, over time.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adm.app.report import Block, Cell, Figure, Folded, ImageRow, Images, Note, Table, Title
from adm.app.report import markdown as markdown_of
from adm.app.report import page as page_of
from adm.app.report.page import tiles
from adm.app.study.curve import Line, Series, apart, bounded, changes, parts, sentences
from adm.app.study.frontier import (
    FILE,
    Frontier,
    Measured,
    by_scale,
    options,
    save,
    spoken,
    time_of,
)
from adm.app.study.plots import Dot, Panel, figure, over_time
from adm.app.study.run import JUDGE_ACCURACY, MODELS, NetworkScores, Result
from adm.app.study.study import SAMPLES, Axis, Point, Study, as_text
from adm.app.study.trial import DISTANCE, describe_left_out, factor
from adm.data.export import safe_names
from adm.generation.folder import images_of
from adm.metrics import METRICS
from adm.pictures import png
from adm.scoring import Score, title
from adm.shown import exactly
from adm.store import files

WIDE = 820  # pixels below which a figure of several panels scrolls
LOWER = "lower is better"
TIMES = tuple(Cell(name, LOWER) for name in ("seconds an image", "error"))
ERROR = "root mean square error"
OVER_TIME = (
    "A line joins the points of a sampler that no other of its points beats in both; the dashed "
    "line is the frontier of all. Bars are 95% intervals over samples of the same generator. Both "
    "axes are logarithmic."
)
WITHIN = (
    "Fast: the fastest settings whose distance lies within the 95% interval of the lowest one, by "
    "all features. Best: of these, those of the lowest distance by {first}; called lowest where "
    "the intervals of all overlap. The other rows are for a time for an image: the lowest distance "
    "by {first}, and the best settings where they fit."
)


def best_and_fast(frontier: Frontier) -> list[str]:
    """Return a sentence for each scale on the best settings and the fastest that equal them."""
    claims = []
    for scale, chosen in frontier.recommended.items():
        fast, best = chosen.fast, chosen.best
        lead = (
            f"At scale {exactly(scale)}, {best.way} {chosen.claim}, with a "
            f"{title(DISTANCE, frontier.features[0])} of {_distance(frontier, best)} in "
            f"{spoken(best.seconds)} an image"
        )
        if fast is best:
            claims.append(f"{lead}; nothing faster is as good by all features.")
            continue
        claims.append(
            f"{lead}; {fast.way} takes {spoken(fast.seconds)}, "
            f"{best.seconds / fast.seconds:.1f} times less, for {_distance(frontier, fast)}."
        )
    return claims


def distances_over_time(frontier: Frontier, features: str) -> Figure:
    """Draw time against the distance by one of the features, a panel for each scale."""

    def distance(one: Measured) -> Score | None:
        return one.distances[features].score if one.distances else None

    what = title(DISTANCE, features)
    return _drawn(frontier, distance, what, f"Points that were sampled in full, {what}")


def recommendations(frontier: Frontier, model: str) -> list[Block]:
    """Return the points of the first pass, and what each recommended one is for.

    Args:
        model: as the user gave it, with its options, for the commands.
    """
    legend = WITHIN.format(first=frontier.features[0])
    blocks: list[Block] = [*_first_pass(frontier), Title("Recommended settings"), Note([legend])]
    distances = [Cell(title(DISTANCE, name), LOWER) for name in frontier.features]
    for scale, chosen in frontier.recommended.items():
        uses = [("fast", chosen.fast), (chosen.superlative, chosen.best)]
        uses += [
            (f"--budget {spoken(each.seconds).replace(' ', '')}", each.point)
            for each in chosen.budgets
        ]
        scores = [[one.distances[name].score for _, one in uses] for name in frontier.features]
        rows = [
            [
                use,
                taken[0],
                *(parts(column[i], column)[0] for column in scores),
                Cell(command(frontier, model, one), code=True),
            ]
            for i, ((use, one), taken) in enumerate(
                zip(uses, times([one for _, one in uses]), strict=True)
            )
        ]
        table = Table(["for", TIMES[0], *distances, "command"], rows)
        blocks += [Title(f"Scale {exactly(scale)}", 3), table]
    return blocks


def command(frontier: Frontier, model: str, point: Measured) -> str:
    """Return the command that samples with the settings of a point.

    Args:
        model: as the user gave it, with its options.
    """
    shared = {name: value for name, value in frontier.shared.items() if name != "seed"}
    words = ["adm sample", model, options(point.settings), options(shared)]
    return " ".join(filter(None, [*words, "--out out/samples"]))


def times(points: Sequence[Measured]) -> list[list[Cell]]:
    """Return the cells of each point below `TIMES`, which the first pass has measured.

    The seconds of all have as many decimals as three digits of the shortest take.
    """
    shortest = min((one.seconds for one in points), default=1)
    decimals = max(0, 2 - math.floor(math.log10(shortest)))
    rows = []
    for one in points:
        seconds, low, high = (f"{x:.{decimals}f}" for x in (one.seconds, one.low, one.high))
        none = "" if one.random else "NaN"
        error = none if one.error is None else f"{one.error:.3f}"
        rows.append([Cell(seconds, f"{low} to {high}"), Cell(error)])
    return rows


def _drawn(
    frontier: Frontier, value: Callable[[Measured], Score | None], what: str, about: str
) -> Figure:
    panels = []
    for scale in frontier.scales:
        dots: dict[int, Dot] = {}
        for one in by_scale(frontier.points)[scale]:
            if (score := value(one)) is not None:
                sampler, grid = (as_text(one.settings.get(k, "")) for k in ("sampler", "grid"))
                dots[id(one)] = Dot(sampler, grid, one.seconds, score)
        chosen = frontier.recommended.get(scale)
        named = {} if chosen is None else chosen.named
        shown = {name: dots[id(one)] for name, one in named.items() if id(one) in dots}
        if dots:
            panels.append(Panel(f"Scale {exactly(scale)}", list(dots.values()), shown))
    keys = [
        tuple(dict.fromkeys(as_text(one.settings.get(k, "")) for one in frontier.points))
        for k in ("sampler", "grid")
    ]
    return Figure(png(over_time(panels, what, about, *keys)), about, WIDE)


def _first_pass(frontier: Frontier) -> list[Block]:
    """Return tables of all points after the first pass, the fastest first."""
    full = [one for one in frontier.points if one.distances]
    blocks: list[Block] = [Title("First pass"), Note(describe_left_out(frontier.points, full))]
    if any(one.error for one in frontier.points):
        about = f"All points: {ERROR} of {frontier.trial_count} images against the converged ones"
        errors = _drawn(frontier, lambda one: Score(one.error) if one.error else None, ERROR, about)
        blocks.append(errors)
    names = list(dict.fromkeys(name for one in frontier.points for name in one.settings))
    far = Cell("error / lowest of all as fast", LOWER)
    headings = [*(name.replace("_", " ") for name in names), *TIMES, far]
    for scale in frontier.scales:
        alike = by_scale(frontier.points)[scale]
        points = sorted(alike, key=lambda one: (one.seconds, one.error or math.inf))
        rows = []
        for one, taken in zip(points, times(points), strict=True):
            times_lowest = "" if one.error is None else f"{factor(one, points):.2f}"
            settings = [as_text(one.settings.get(name, "")) for name in names]
            rows.append([*settings, *taken, Cell(times_lowest, best=bool(one.distances))])
        summary = f"All {len(rows)} points of scale {exactly(scale)}"
        blocks.append(Folded(summary, [Table(headings, rows)]))
    return blocks


def _distance(frontier: Frontier, one: Measured) -> str:
    return parts(frontier.distance(one).score)[0]


PAGE = "report.html"
ACROSS, ROWS = 4, 10  # images per row and point; most rows
PLOTTED = (DISTANCE, "precision", "recall")
LEAD = "The images of every point were sampled from the same noise and scored against real images."
SAME_NOISE = "Images at the same place in two columns start from the same noise."
ALONG = (
    "Bands and bars are 95% intervals over samples of the same generator. Values are drawn at "
    "equal spacing. A ring marks a distance whose interval is below all others of its line."
)
MARKED = (
    "Marked: the best value of a column, and all whose 95% intervals overlap its interval. A "
    "column has no mark if all do."
)


def write(result: Result, out: Path, more: Sequence[Block] = ()) -> list[Path]:
    """Write report.html, report.md, report.json and a PNG file per figure into `out`.

    With a frontier, also frontier.json.

    Args:
        more: blocks below those of the study.
    """
    title = title_of(result)
    drawn = {each.network: figures(result, each) for each in result.networks}
    blocks = [*_results(result, drawn), *_samples(result, out), *_numbers(result), *more]
    if result.frontier is not None:
        save(result.frontier, out / FILE)
    html = page_of(title, blocks, lead=LEAD, facts=_facts(result), settings=result.manifest)
    written = {name: figure.content for of in drawn.values() for name, figure in of.items()}
    written["report.json"] = (json.dumps(result.to_json(), indent=1) + "\n").encode()
    written["report.md"] = markdown_of(title, blocks).encode()
    written[PAGE] = html.encode()
    for name, content in written.items():
        files.write_bytes(out / name, content)
    return [out / name for name in written]


def title_of(result: Result) -> str:
    """Return the title of the page: the model, and the settings that differ."""
    if result.frontier is not None:
        return f"{result.study.name}: time against quality"
    *names, last = [axis.words for axis in result.study.varied] or [""]
    listed = f"{', '.join(names)} and {last}" if names else last
    return f"{result.study.name}: scores" + (f" by {listed}" if listed else "")


def figure_axes(study: Study) -> list[Axis]:
    """Return the axes that are drawn along x: those with an order, or the first one."""
    ordered = [axis for axis in study.varied if axis.is_number or axis.is_strength]
    return ordered or study.varied[:1]


def along(study: Study, axis: Axis) -> dict[str, list[Point]]:
    """Group the points that differ in one setting only, in its order, by what they share."""
    single = [each.name for each in study.axes if len(each.values) == 1]
    groups: dict[str, list[Point]] = {}
    for point in study.points:
        groups.setdefault(point.without(axis.name, *single), []).append(point)
    return groups


def lines(result: Result, network: NetworkScores, axis: Axis) -> list[Line]:
    """Return the scores by one network as lines of a figure; none unless all are known."""
    if not set(PLOTTED) <= set(network.keys):
        return []
    place = {point: i for i, point in enumerate(result.study.points)}
    drawn = []
    for name, points in along(result.study, axis).items():
        rows = [network.scores[place[point]] for point in points]
        x = [point.text(axis.name) for point in points]
        series = (
            Series(network.short_title(key), x, [row[key] for row in rows]) for key in PLOTTED
        )
        drawn.append(Line(name, *series))
    return drawn


def figures(result: Result, network: NetworkScores) -> dict[str, Figure]:
    """Draw the scores by one network: over time, or along each axis with an order; by file name."""
    if result.frontier is not None:
        if network.network not in result.frontier.features:
            return {}
        return {
            f"frontier-{safe_names([network.network])[0]}.png": distances_over_time(
                result.frontier, network.network
            )
        }
    drawn = {}
    for axis in figure_axes(result.study):
        if curves := lines(result, network, axis):
            name = "-".join(safe_names([network.network, axis.name]))
            picture = figure(curves, axis.words, network.short_title(DISTANCE), network.network)
            about = f"scores by {network.network}, along {axis.words}"
            drawn[f"sweep-{name}.png"] = Figure(png(picture), about, WIDE)
    return drawn


def _results(result: Result, drawn: Mapping[str, Mapping[str, Figure]]) -> list[Block]:
    blocks: list[Block] = []
    axes = figure_axes(result.study) if result.frontier is None else []
    for network in result.networks:
        if not drawn[network.network]:
            continue
        blocks += [Title(f"By {network.network}", 3), *drawn[network.network].values()]
        by_point = dict(zip(result.study.points, network.scores, strict=True))
        for axis in axes:
            curves = lines(result, network, axis)
            if axis.is_strength:
                for line, points in zip(curves, along(result.study, axis).values(), strict=True):
                    description = sentences(*line[1:], axis.words)
                    if JUDGE_ACCURACY in network.keys:
                        judged = [by_point[point][JUDGE_ACCURACY] for point in points]
                        description.insert(0, f"{changes(Series(JUDGE_ACCURACY, line.x, judged))}.")
                    lead = [f"{line.name}:"] if line.name else []
                    blocks.append(Note([*lead, *description], "result"))
    if result.frontier is not None:
        blocks.insert(0, Note(best_and_fast(result.frontier), "result"))
    about = ALONG if result.frontier is None else OVER_TIME
    return [Title("Results"), *blocks, Note([about], "quiet")] if blocks else []


def _samples(result: Result, out: Path) -> list[Block]:
    """Return a grid of samples for each group of points along the first axis."""
    study = result.study
    jobs = [study.job(point) for point in study.points]
    labels = next((job.labels for job in jobs if job.labels), [])
    classes = next((job.generator.classes for job in jobs if job.labels), ())
    rows, groups = rows_of(labels, classes, study.count), _columns(result)
    grids = [
        grid_of({name: out / SAMPLES / point.name for name, point in columns.items()}, rows)
        for columns in groups.values()
    ]
    blocks: list[Block] = [Title("Samples, a class by row" if labels else "Samples")]
    notes = [SAME_NOISE] if any(len(columns) > 1 for columns in groups.values()) else []
    if labels and any(not job.labels for job in jobs):
        judged = ", and the judge's accuracy is chance" if judges(result) else ""
        notes.append(f"Some points are unconditional: rows do not apply to them{judged}.")
    blocks += [Note([" ".join(notes)])] * bool(notes)
    if len(grids) == 1:
        return [*blocks, *grids]
    named = zip(groups, grids, strict=True)
    return [*blocks, *(Folded(name, [each], not i) for i, (name, each) in enumerate(named))]


def _columns(result: Result) -> dict[str, dict[str, Point]]:
    """Return the points whose samples are shown, by the heading of a column, in groups.

    Those are all points, grouped along the first axis; of a frontier, the recommended ones.
    """
    study, frontier = result.study, result.frontier
    if frontier is not None:
        named = [
            (f"scale {exactly(scale)}, {name}", one.point)
            for scale, chosen in frontier.recommended.items()
            for name, one in chosen.named.items()
        ]
        return {"": dict(named)}
    axes = figure_axes(study)
    if not axes:
        single = [each.name for each in study.axes]
        return {"": {point.without(*single): point for point in study.points}}
    first = axes[0]
    return {
        group: {f"{first.words} {point.text(first.name)}": point for point in points}
        for group, points in along(study, first).items()
    }


def rows_of(labels: Sequence[int], classes: Sequence[str], count: int) -> dict[str, list[int]]:
    """Return the image indices of each row of a grid of samples; with labels, a row is a class."""
    if not labels:
        across = min(ACROSS, count)
        ends = range(across, min(count, across * ROWS) + 1, across)
        return {f"{end - across} to {end - 1}": list(range(end - across, end)) for end in ends}
    used = sorted(set(labels))
    rows = min(ROWS, len(used))
    chosen = [used[i * len(used) // rows] for i in range(rows)]
    return {
        classes[label]: [i for i, own in enumerate(labels) if own == label][:ACROSS]
        for label in chosen
    }


def grid_of(columns: Mapping[str, Path], rows: Mapping[str, Sequence[int]]) -> Images:
    """Return a grid of samples.

    Args:
        columns: heading -> sample folder.
        rows: name -> indices of images.
    """
    images = [images_of(folder) for folder in columns.values()]
    across = max(map(len, rows.values()))
    drawn = [
        ImageRow(name, [tiles(each[list(chosen)], across) for each in images])
        for name, chosen in rows.items()
    ]
    return Images(drawn, list(columns), across)


def _numbers(result: Result) -> list[Block]:
    notes = [*([MARKED] if len(result.study.points) > 1 else []), *result.notes]
    return [Title("Numbers"), *tables(result), Note(notes, "quiet")]


def tables(result: Result) -> list[Block]:
    """Return a table per network: a row per point, a column per score, the best ones marked."""
    blocks: list[Block] = []
    groups = _groups(result)
    axes = [axis for axis in result.study.varied if len(groups) == 1 or axis.name != "scale"]
    calls = [Cell(f"{kind} calls", f"per image; {LOWER}") for kind in ("network", "classifier")]
    for network in result.networks:
        keys = network.keys
        by_point = dict(zip(result.study.points, network.scores, strict=True))
        scores = [Cell(network.short_title(key), better(key)) for key in keys]
        measured = TIMES if result.frontier is not None else ()
        headings = [*([axis.words for axis in axes] or ["model"]), *calls, *measured, *scores]
        for name, points in groups.items():
            columns = {key: [by_point[point][key] for point in points] for key in keys}
            best = {key: marks(key, column) for key, column in columns.items()}
            taken = times([result.measured[point] for point in points if point in result.measured])
            rows = []
            for i, point in enumerate(points):
                cost = result.study.job(point).cost
                lead = [point.text(axis.name) for axis in axes] or [result.study.name]
                cells = [Cell(*parts(columns[key][i], columns[key]), best[key][i]) for key in keys]
                calls_of = (f"{cost.network:,}", f"{cost.classifier:,}")
                rows.append([*lead, *calls_of, *(taken[i] if taken else []), *cells])
            blocks += [Title(f"By {network.network}{name}", 3), Table(headings, rows)]
    return blocks


def _groups(result: Result) -> dict[str, list[Point]]:
    """Return the points that are compared; with their seconds, those of a scale, by time."""
    if result.frontier is None:
        return {"": result.study.points}
    return {
        f", scale {exactly(scale)}": [
            one.point for one in sorted(result.frontier.scored(scale), key=time_of)
        ]
        for scale in result.frontier.recommended
    }


def better(key: str) -> str:
    """Return in words which values of a score are better."""
    return LOWER if key in METRICS and METRICS[key].lower_is_better else "higher is better"


def marks(key: str, scores: Sequence[Score]) -> list[bool]:
    """Return which scores of a column are marked: the best, and all that may equal it.

    Two scores differ if their intervals do not overlap. None is marked if all may be equal, or if
    an interval is unknown.
    """
    extreme = min if key in METRICS and METRICS[key].lower_is_better else max
    best = extreme(scores, key=lambda score: score.value)
    marked = [not apart(score, best) for score in scores]
    known = all(bounded(score) for score in scores)
    return marked if known and not all(marked) else [False] * len(scores)


def judges(result: Result) -> list[str]:
    """Return the name of the judge, if there is one."""
    return [each.network for each in result.networks if JUDGE_ACCURACY in each.keys]


def model_facts(manifest: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the models of a manifest, each with the steps of its training."""
    facts = []
    for kind in MODELS:
        match manifest.get(kind):
            case {"recipe": recipe, "trained_steps": int(steps)}:
                facts.append((kind, f"{recipe}, {steps:,} steps of training"))
            case _:
                pass
    return facts


def _facts(result: Result) -> list[tuple[str, str]]:
    features = [n.network for n in result.networks if set(n.keys) != {JUDGE_ACCURACY}]
    varied = [(axis.words, ", ".join(map(as_text, axis.values))) for axis in result.study.axes]
    frontier, count, taken = result.frontier, f"{result.study.count:,}", list[tuple[str, str]]()
    if frontier is not None:
        count = f"{count}; {frontier.trial_count} in the first pass"
        points = f"{len(frontier.points)}, {len(result.study.points)} of them in full"
        taken = [("points", points), ("machine", frontier.machine)]
    return [
        *model_facts(result.manifest),
        *taken,
        ("images per point", count),
        *varied,
        ("seed", str(result.manifest["seed"])),
        ("features", ", ".join(features)),
        *[("judge", name) for name in judges(result)],
    ]
