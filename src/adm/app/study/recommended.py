"""Frontier -> the blocks of a page: what is best for a time, and every point of the first pass."""

import math
from collections.abc import Callable, Sequence

from adm.app.report import Block, Cell, Figure, Folded, Note, Table, Title
from adm.app.scoring import Score, title
from adm.app.study.curve import parts
from adm.app.study.frontier import Frontier, Measured, options, spoken
from adm.app.study.plots import Dot, Panel, over_time
from adm.app.study.study import as_text
from adm.app.study.trial import DISTANCE, describe_left_out, factor
from adm.pictures import png
from adm.shown import exactly

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
    """Return a sentence for each scale on what it takes to be as good as the best."""
    said = []
    for scale, chosen in frontier.recommended.items():
        fast, best = chosen.fast, chosen.best
        lead = (
            f"At scale {exactly(scale)}, {best.way} {chosen.claim}, with a "
            f"{title(DISTANCE, frontier.features[0])} of {_distance(frontier, best)} in "
            f"{spoken(best.seconds)} an image"
        )
        if fast is best:
            said.append(f"{lead}; nothing faster is as good by all features.")
            continue
        said.append(
            f"{lead}; {fast.way} takes {spoken(fast.seconds)}, "
            f"{best.seconds / fast.seconds:.1f} times less, for {_distance(frontier, fast)}."
        )
    return said


def distances_over_time(frontier: Frontier, features: str) -> Figure:
    """Draw time against the distance by one of the features, a panel for each scale."""

    def distance(one: Measured) -> Score | None:
        return one.distances[features].score if one.distances else None

    what = title(DISTANCE, features)
    return _drawn(frontier, distance, what, f"Points that were sampled in full, {what}")


def recommendations(frontier: Frontier, model: str) -> list[Block]:
    """Return the points of the first pass, and what each recommended one is for.

    Args:
        model: as the user has given it, with its options, for the commands.
    """
    said = WITHIN.format(first=frontier.features[0])
    blocks: list[Block] = [*_first_pass(frontier), Title("Recommended settings"), Note([said])]
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
        model: as the user has given it, with its options.
    """
    shared = {name: value for name, value in frontier.shared.items() if name != "seed"}
    words = ["adm sample", model, options(point.settings), options(shared)]
    return " ".join(filter(None, [*words, "--out out/samples"]))


def times(points: Sequence[Measured]) -> list[list[Cell]]:
    """Return what the first pass has measured of each point, below `TIMES`.

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
        for one in frontier.at(scale):
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
        points = sorted(frontier.at(scale), key=lambda one: (one.seconds, one.error or math.inf))
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
