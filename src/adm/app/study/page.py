"""Result, sample folders -> a self-contained HTML page, Markdown, JSON and PNG figures."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from adm.app.report import Block, Cell, Figure, Folded, ImageRow, Images, Note, Table, Title
from adm.app.report import markdown as markdown_of
from adm.app.report import page as page_of
from adm.app.report.pictures import tiles
from adm.app.scoring import Score
from adm.app.study.curve import Line, apart, bounded, lowest_of_all, parts, sentences
from adm.app.study.plots import figure
from adm.app.study.run import JUDGE_ACCURACY, MODELS, NetworkScores, Result
from adm.app.study.study import SAMPLES, Axis, Point, Study, as_text
from adm.data.export import safe_names
from adm.generation.folder import images_of
from adm.metrics import METRICS
from adm.pictures import png
from adm.store import files

ACROSS, ROWS = 4, 10  # images per row and point; most rows
DISTANCE = "frechet"
PLOTTED = (DISTANCE, "precision", "recall")
WIDE = 820  # pixels below which a figure of several panels scrolls
LEAD = "The images of every point were sampled from the same noise and scored against real images."
SAME_NOISE = "Images at the same place in two columns start from the same noise."
MARKED = (
    "Marked: the best value of a column, and all whose 95% intervals overlap its interval. A "
    "column has no mark if all do."
)


def write(result: Result, out: Path) -> list[Path]:
    """Write report.html, report.md, report.json and a PNG file per figure into `out`."""
    title = title_of(result.study)
    drawn = {each.network: figures(result, each) for each in result.networks}
    blocks = [*_results(result, drawn), *_samples(result, out), *_numbers(result)]
    html = page_of(title, blocks, lead=LEAD, facts=_facts(result), settings=result.manifest)
    written = {
        f"sweep-{name}.png": picture.content for of in drawn.values() for name, picture in of
    }
    written["report.json"] = (json.dumps(result.to_json(), indent=1) + "\n").encode()
    written["report.md"] = markdown_of(title, blocks).encode()
    written["report.html"] = html.encode()
    for name, content in written.items():
        files.write_bytes(out / name, content)
    return [out / name for name in written]


def title_of(study: Study) -> str:
    """Return the title of the page: the model, and the settings that differ."""
    *names, last = [axis.words for axis in study.varied] or [""]
    listed = f"{', '.join(names)} and {last}" if names else last
    return f"{study.name}: scores" + (f" by {listed}" if listed else "")


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
        distance, precision, recall = ([row[key] for row in rows] for key in PLOTTED)
        x = [point.text(axis.name) for point in points]
        drawn.append(Line(name, x, distance, precision, recall))
    return drawn


def figures(result: Result, network: NetworkScores) -> list[tuple[str, Figure]]:
    """Draw a figure along each axis with an order; (name, figure) of each."""
    drawn = []
    for axis in figure_axes(result.study):
        if own := lines(result, network, axis):
            name = "-".join(safe_names([network.network, axis.name]))
            picture = figure(own, axis.words, network.short_title(DISTANCE), network.network)
            about = f"scores by {network.network}, along {axis.words}"
            drawn.append((name, Figure(png(picture), about, WIDE)))
    return drawn


def _results(result: Result, drawn: Mapping[str, list[tuple[str, Figure]]]) -> list[Block]:
    blocks: list[Block] = []
    shown: list[Line] = []
    for network in result.networks:
        if not drawn[network.network]:
            continue
        blocks.append(Title(f"By {network.network}", 3))
        blocks += [picture for _, picture in drawn[network.network]]
        for axis in figure_axes(result.study):
            own = lines(result, network, axis)
            shown += own
            if axis.is_strength:
                names = [network.short_title(key) for key in PLOTTED]
                for line in own:
                    said = sentences(*line.series(names), axis.words)
                    lead = [f"{line.name}:"] if line.name else []
                    blocks.append(Note([*lead, *said], "result"))
    notes = _figure_notes(shown, figure_axes(result.study))
    if blocks:
        blocks = [Title("Results"), *blocks, *([Note([" ".join(notes)], "quiet")] if notes else [])]
    return blocks


def _figure_notes(drawn: Sequence[Line], axes: Sequence[Axis]) -> list[str]:
    """Explain what figures show: intervals, the spacing and rings, each only where it is drawn."""
    scores = [s for line in drawn for s in (*line.distance, *line.precision, *line.recall)]
    notes = []
    if any(bounded(score) for score in scores):
        notes.append("Bands and bars are 95% intervals over samples of the same generator.")
    if any(_uneven(axis) for axis in axes):
        notes.append("Values are drawn at equal spacing.")
    if any(lowest_of_all(line.distance) is not None for line in drawn):
        notes.append("A ring marks a distance whose interval is below all others of its line.")
    return notes


def _uneven(axis: Axis) -> bool:
    values = [float(str(value)) for value in axis.values] if axis.is_number else []
    return len({round(b - a, 9) for a, b in pairwise(values)}) > 1


def _samples(result: Result, out: Path) -> list[Block]:
    """Return a grid of samples for each group of points along the first axis."""
    study = result.study
    jobs = [study.job(point) for point in study.points]
    labels = next((job.labels for job in jobs if job.labels), [])
    classes = next((job.generator.classes for job in jobs if job.labels), ())
    rows = rows_of(labels, classes, study.count)
    axes = figure_axes(study)
    groups = along(study, axes[0]) if axes else {"": study.points}
    single = [each.name for each in study.axes if len(each.values) == 1]
    grids = []
    for points in groups.values():
        headings = [
            f"{axes[0].words} {point.text(axes[0].name)}" if axes else point.without(*single)
            for point in points
        ]
        places = [out / SAMPLES / point.name for point in points]
        grids.append(grid_of(dict(zip(headings, places, strict=True)), rows))
    blocks: list[Block] = [Title("Samples, a class by row" if labels else "Samples")]
    notes = [SAME_NOISE] if any(len(points) > 1 for points in groups.values()) else []
    if labels and any(not job.labels for job in jobs):
        judged = ", and the judge's accuracy is chance" if judges(result) else ""
        notes.append(f"Nothing tells some points their classes: rows do not apply there{judged}.")
    blocks += [Note([" ".join(notes)])] * bool(notes)
    if len(grids) == 1:
        return [*blocks, *grids]
    named = zip(groups, grids, strict=True)
    return [*blocks, *(Folded(name, [each], not i) for i, (name, each) in enumerate(named))]


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
    """Return a table per network: a row per point, a column per score, the best ones marked."""
    blocks: list[Block] = [Title("Numbers")]
    axes, any_marked = result.study.varied, False
    for network in result.networks:
        keys = network.keys
        best = {key: marks(key, [row[key] for row in network.scores]) for key in keys}
        rows = []
        for i, (point, row) in enumerate(zip(result.study.points, network.scores, strict=True)):
            cost = result.study.job(point).cost
            lead = [point.text(axis.name) for axis in axes] or [result.study.name]
            scores = [Cell(*parts(row[key]), best[key][i]) for key in keys]
            rows.append([*lead, f"{cost.network:,}", f"{cost.classifier:,}", *scores])
        names = [axis.words for axis in axes] or ["model"]
        calls = ("network calls", "classifier calls")  # per image
        headings = [*names, *calls, *map(network.short_title, keys)]
        any_marked |= any(any(of) for of in best.values())
        blocks += [Title(f"By {network.network}", 3), Table(headings, rows)]
    return [*blocks, Note([*([MARKED] if any_marked else []), *result.notes], "quiet")]


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
    found = []
    for kind in MODELS:
        match manifest.get(kind):
            case {"recipe": recipe, "trained_steps": int(steps)}:
                found.append((kind, f"{recipe}, {steps:,} steps of training"))
            case _:
                pass
    return found


def _facts(result: Result) -> list[tuple[str, str]]:
    features = [n.network for n in result.networks if set(n.keys) != {JUDGE_ACCURACY}]
    varied = [(axis.words, ", ".join(map(as_text, axis.values))) for axis in result.study.axes]
    return [
        *model_facts(result.manifest),
        ("images per point", f"{result.study.count:,}"),
        *varied,
        ("seed", str(result.manifest["seed"])),
        ("features", ", ".join(features)),
        *[("judge", name) for name in judges(result)],
    ]
