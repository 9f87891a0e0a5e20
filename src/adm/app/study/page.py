"""Result, sample folders -> a self-contained HTML page, JSON, CSV and PNG figures.

A study has a figure along each setting with an order.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from adm.app.report import Block, Cell, Figure, Folded, ImageGrid, ImageRow, Note, Table, Title
from adm.app.report import page as page_of
from adm.app.report.page import tiles
from adm.app.study.curve import Line, Series, changes, sentences
from adm.app.study.plots import figure
from adm.app.study.run import JUDGE_ACCURACY, MODELS, NetworkScores, Result, lower_is_better
from adm.app.study.study import SAMPLES, Axis, Point, Study
from adm.generation.folder import images_of
from adm.generation.pngs import safe_names
from adm.pictures import png
from adm.scoring import Score
from adm.spec import written
from adm.store import files

Column: TypeAlias = tuple[str | Cell, Sequence[str | Cell]]  # of a table: heading, cells

WIDE = 820  # pixels below which a figure of several panels scrolls
LOWER = "lower is better"
PAID = f"per image; {LOWER}"
PAGE = "report.html"
ACROSS, ROWS = 4, 10  # images per row and point; most rows
DISTANCE = "frechet"
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
UNBEATEN = (
    "Marked seconds: no other point takes less time and has as good a {score}, whatever the "
    "intervals. Seconds are those of an image among others on {machine}; other work lengthens them."
)


def write(result: Result, out: Path) -> list[Path]:
    """Write report.html, report.json, report.csv and a PNG file per figure into `out`."""
    drawn = {each.network: figures(result, each) for each in result.networks}
    blocks = [*_results(result, drawn), *_samples(result, out), *_numbers(result)]
    html = page_of(
        title_of(result), blocks, lead=LEAD, facts=_facts(result), settings=result.manifest
    )
    written = {name: figure.content for of in drawn.values() for name, figure in of.items()}
    written |= data_files(result) | {PAGE: html.encode()}
    for name, content in written.items():
        files.write_bytes(out / name, content)
    return [out / name for name in written]


def data_files(result: Result) -> dict[str, bytes]:
    """Return what programs read, by file name: report.json and report.csv."""
    document = json.dumps(result.to_json(), indent=1) + "\n"
    return {"report.json": document.encode(), "report.csv": _csv(result)}


def _csv(result: Result) -> bytes:
    """Return a row for each point; an unknown end of an interval is empty."""
    rows, text = result.rows(), io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    for row in rows:
        unknown = {name for name, value in row.items() if value != value}  # NaN
        table.writerow(row | dict.fromkeys(unknown, ""))
    return text.getvalue().encode()


def title_of(result: Result) -> str:
    """Return the title of the page: the model, and the settings that differ."""
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
    """Draw the scores by one network along each axis with an order; by file name."""
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
    for network in result.networks:
        if not drawn[network.network]:
            continue
        blocks += [Title(f"By {network.network}", 3), *drawn[network.network].values()]
        for axis in figure_axes(result.study):
            if axis.is_strength:
                blocks += claims(result, network, axis)
    return [Title("Results"), *blocks, Note([ALONG], "quiet")] if blocks else []


def claims(result: Result, network: NetworkScores, axis: Axis) -> list[Block]:
    """Return what the scores say on a strength, for each line of its figure."""
    by_point = dict(zip(result.study.points, network.scores, strict=True))
    notes: list[Block] = []
    groups = along(result.study, axis).values()
    for line, points in zip(lines(result, network, axis), groups, strict=True):
        claims = sentences(*line[1:], axis.words)
        if JUDGE_ACCURACY in network.keys:
            judged = [by_point[point][JUDGE_ACCURACY] for point in points]
            claims.insert(0, f"{changes(Series(JUDGE_ACCURACY, line.x, judged))}.")
        notes.append(Note([*([f"{line.name}:"] if line.name else []), *claims], "result"))
    return notes


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
    """Return the points by the heading of a column, in groups along the first axis."""
    study = result.study
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


def grid_of(columns: Mapping[str, Path], rows: Mapping[str, Sequence[int]]) -> ImageGrid:
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
    return ImageGrid(drawn, list(columns), across)


def _numbers(result: Result) -> list[Block]:
    first = result.networks[0]
    score = first.title(first.keys[0])
    marked = [MARKED, UNBEATEN.format(score=score, machine=result.manifest["machine"])]
    notes = [*(marked if len(result.study.points) > 1 else []), *result.notes]
    return [Title("Numbers"), *tables(result), Note(notes, "quiet")]


def tables(result: Result) -> list[Block]:
    """Return the scores by each network: a row per point, a column per score, the best ones marked.

    What is drawn and the judge's accuracy stand beside the costs, and the others are folded below:
    a page is too narrow for all.
    """
    blocks: list[Block] = []
    study, several = result.study, len(result.study.points) > 1
    lead: list[Column] = [
        (axis.words, [point.text(axis.name) for point in study.points]) for axis in study.varied
    ]
    lead = lead or [("model", [study.name])]
    costs: list[Column] = [
        (Cell("network calls", PAID), [f"{done.calls.network:,}" for done in result.points]),
        (Cell("classifier calls", PAID), [f"{done.calls.classifier:,}" for done in result.points]),
        (
            Cell("seconds", PAID),
            [
                Cell(seconds_text(done.seconds), best=several and done.unbeaten)
                for done in result.points
            ],
        ),
    ]
    for network in result.networks:
        first = [key for key in network.keys if key in (*PLOTTED, JUDGE_ACCURACY)] or network.keys
        others = [_column(network, key) for key in network.keys if key not in first]
        scores = [_column(network, key) for key in first]
        blocks += [Title(f"By {network.network}", 3), _table([*lead, *costs, *scores])]
        blocks += [Folded("More scores", [_table([*lead, *others])])] * bool(others)
    return blocks


def _column(network: NetworkScores, key: str) -> Column:
    scores = [row[key] for row in network.scores]
    cells = zip(scores, marks(key, scores), strict=True)
    heading = Cell(network.short_title(key), better(key))
    return heading, [Cell(*score.parts(scores), best) for score, best in cells]


def _table(columns: Sequence[Column]) -> Table:
    headings, cells = zip(*columns, strict=True)
    return Table(headings, list(zip(*cells, strict=True)))


def seconds_text(seconds: float) -> str:
    """Return a time with three significant digits, such as 0.0452."""
    decimals = 2 - math.floor(math.log10(seconds)) if seconds else 0
    return f"{seconds:.{min(6, max(0, decimals))}f}"


def better(key: str) -> str:
    """Return in words which values of a score are better."""
    return LOWER if lower_is_better(key) else "higher is better"


def marks(key: str, scores: Sequence[Score]) -> list[bool]:
    """Return which scores of a column are marked: the best, and all that may equal it.

    Two scores differ if their intervals do not overlap. None is marked if all may be equal, or if
    an interval is unknown.
    """
    extreme = min if lower_is_better(key) else max
    best = extreme(scores, key=lambda score: score.value)
    marked = [not score.apart(best) for score in scores]
    known = all(score.bounded for score in scores)
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
    varied = [(axis.words, ", ".join(map(written, axis.values))) for axis in result.study.axes]
    return [
        *model_facts(result.manifest),
        ("images per point", f"{result.study.count:,}"),
        *varied,
        ("seed", str(result.manifest["seed"])),
        ("machine", str(result.manifest["machine"])),
        ("features", ", ".join(features)),
        *[("judge", name) for name in judges(result)],
    ]
