"""Scores of the runs of a Plan -> tables and a figure, in a folder and in docs/results/ablation.md.

Rows are compared at equal seconds, as in Figure 2 of the paper, and at equal steps, as in its
Tables 1 to 3. Those that have not been measured are left out.
"""

import math
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import matplotlib
from ablation_plan import BASE, COMBINED, CONTINUED, PAPER, Plan, Row
from ablation_scores import SCORES, Point, RunScores, Times, read_runs, read_times
from matplotlib.figure import Figure
from results_page import between, table
from scipy.stats import t as students

from adm.app.study.plots import FAINT, INK, STYLE
from adm.store.files import write_text

PAGE, IMAGES, STORED = "results/ablation.md", "images", "results/ablation"
MADE = "make ablation"
USUAL, DISTANCE = "frechet", "frechet_at_infinity"  # the second if there are enough images
CERTAIN = 0.95
COLOURS = [matplotlib.colormaps["tab20"](place) for place in range(20)]
Runs: TypeAlias = dict[str, dict[int, RunScores]]  # row -> seed -> run


class Reading(NamedTuple):
    """When runs are compared.

    Attributes:
        title: in the table.
        of: the point of a run of a row; None for a run that does not have it.
    """

    title: str
    of: Callable[[Row, RunScores], Point | None]


def readings(plan: Plan, times: Times) -> list[Reading]:
    """Return the readings that runs of these times have."""

    def at_the_end(row: Row, run: RunScores) -> Point | None:
        return run.at(times.rows[plan.trained(row).name].steps)

    found = [Reading(f"{times.seconds:,.0f} s", at_the_end)]
    if times.equal is not None:
        found.append(Reading(f"{times.equal:,} steps", lambda row, run: run.at(times.equal)))
    return found


class Estimate(NamedTuple):
    """A mean over seeds and the half-width of its 95% interval, NaN if it is unknown."""

    mean: float
    half: float = math.nan

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.half:.2f}" if math.isfinite(self.half) else "")


class Spread(NamedTuple):
    """A standard deviation between runs, and its degrees of freedom."""

    deviation: float
    freedom: int

    def half(self, *counts: int) -> float:
        """Return the half-width of the interval of a mean, or of a difference of two means.

        Args:
            counts: number of runs of each mean.
        """
        if not self.freedom:
            return math.nan
        error = self.deviation * math.sqrt(sum(1 / count for count in counts))
        return float(students.ppf((1 + CERTAIN) / 2, self.freedom)) * error


def spread(rows: Sequence[Sequence[float]]) -> Spread:
    """Pool the variance between runs over all rows: two seeds of one row alone say little of it."""
    squares = sum((x - statistics.mean(row)) ** 2 for row in rows for x in row)
    return _spread(squares, sum(len(row) - 1 for row in rows))


def spread_within_seeds(rows: Sequence[Sequence[float]]) -> Spread:
    """Return the spread of runs around the sum of their row's mean and an effect of their seed.

    The runs of a seed share images, noise and their order, which a difference within it cancels:
    the analysis of variance of randomized blocks, which are the seeds.

    Args:
        rows: the runs of each, in the same order of seeds.
    """
    apart = [[x - statistics.mean(row) for x in row] for row in rows]
    seeds = [statistics.mean(column) for column in zip(*apart, strict=True)]
    squares = sum((x - seed) ** 2 for row in apart for x, seed in zip(row, seeds, strict=True))
    return _spread(squares, (len(rows) - 1) * (len(seeds) - 1))


def _spread(squares: float, freedom: int) -> Spread:
    return Spread(math.sqrt(squares / freedom), freedom) if freedom > 0 else Spread(math.nan, 0)


class Measured:
    """The distance of all rows of a plan at one reading, with the spread between runs.

    Attributes:
        key: of the score: at infinite N if all runs have it.
        values: row -> seed -> distance.
        spread: of the runs of a row, from all rows.
        within_seeds: of the runs of a seed, from the rows and seeds that say most of it.
    """

    def __init__(self, plan: Plan, runs: Runs, features: str, reading: Reading) -> None:
        points = {
            name: {seed: reading.of(plan.row(name), run) for seed, run in own.items()}
            for name, own in runs.items()
        }
        scores = {
            name: {seed: point.scores[features] for seed, point in own.items() if point}
            for name, own in points.items()
        }
        every = [each for own in scores.values() for each in own.values()]
        self.plan = plan
        self.key = key = DISTANCE if all(DISTANCE in each for each in every) else USUAL
        self.values = {
            name: {seed: each[key].score.value for seed, each in own.items()}
            for name, own in scores.items()
            if own
        }
        own = [self.values[row.name] for row in plan.networks() if row.name in self.values]
        blocks = [
            [[row[seed] for seed in seeds] for row in own if row.keys() >= seeds.keys()]
            for seeds in own
        ]
        self.spread = spread([[*each.values()] for each in own])
        within = map(spread_within_seeds, blocks)
        self.within_seeds = max(within, key=lambda each: each.freedom, default=_spread(0, 0))

    def mean(self, name: str) -> Estimate:
        values = self.values[name].values()
        return Estimate(statistics.mean(values), self.spread.half(len(values)))

    def difference(self, row: Row) -> Estimate | None:
        """Return how much higher the row is than its base, of the same seeds; None without one."""
        own, base = self.values.get(row.name, {}), self.values.get(row.base or "", {})
        apart = [own[seed] - base[seed] for seed in own.keys() & base.keys()]
        if not apart:
            return None
        half = self.within_seeds.half(len(apart), len(apart))
        return Estimate(statistics.mean(apart), half)


def verdict(expected: str | None, difference: Estimate | None) -> str:
    """Return whether a claim on a difference holds: yes, no, within the spread, or unknown."""
    if expected is None or difference is None:
        return ""
    if math.isnan(difference.half):
        return "of one run"
    if abs(difference.mean) <= difference.half:
        return "within the spread"
    return "yes" if (difference.mean < 0) == (expected == "lower") else "no"


def separation(distance: Measured) -> str:
    """Return a sentence on how far all combined is from the base."""
    row = distance.plan.row(COMBINED)
    difference = distance.difference(row)
    assert difference is not None
    ratio = abs(difference.mean) / distance.within_seeds.deviation
    return (
        f"All combined differs from the base by {difference}, {ratio:.1f} standard deviations of a "
        "run around the means of its row and its seed."
    )


def write(plan: Plan, place: Path, docs: Path | None) -> None:
    """Write table.md and curves.png, and update docs/ if that is given."""
    runs, times = read_runs(plan, place), read_times(plan, place)
    assert times is not None
    text = tables(plan, runs, times)
    write_text(place / "table.md", text + "\n")
    curves(plan, runs).savefig(place / "curves.png")
    print(text)
    if docs is not None:
        page = docs / PAGE
        write_text(page, updated(page.read_text("utf-8"), plan, runs, times))
        shutil.copytree(place / SCORES, docs / STORED / plan.name, dirs_exist_ok=True)
        shutil.copyfile(place / "curves.png", docs / IMAGES / f"ablation-{plan.name}.png")


def updated(page: str, plan: Plan, runs: Runs, times: Times) -> str:
    """Return the page with the tables and the figure of a plan in its section."""
    picture = f"![The distance of every row](../{IMAGES}/ablation-{plan.name}.png)"
    text = f"{tables(plan, runs, times)}\n\n{picture}"
    return between(page, plan.name, text, MADE)


def tables(plan: Plan, runs: Runs, times: Times) -> str:
    """Return the tables of the paper's rows and of the continued ones, with a note."""
    parts = [quality(plan, runs, times, each) for each in (PAPER, CONTINUED)]
    distance = Measured(plan, runs, plan.contest.features[0], readings(plan, times)[0])
    if {BASE, COMBINED} <= distance.values.keys() and distance.within_seeds.freedom:
        parts.append(separation(distance))
    parts.append(note(plan, runs, distance))
    return "\n\n".join(part for part in parts if part)


def quality(plan: Plan, runs: Runs, times: Times, which: str) -> str:
    """Return a table of scores; empty without rows."""
    first, *others = plan.contest.features
    rows = [row for row in plan.rows if row.table == which and row.name in runs]
    if not rows:
        return ""
    paper, known = which == PAPER, readings(plan, times)
    distances = {each.title: Measured(plan, runs, first, each) for each in known}
    further = [Measured(plan, runs, each, known[0]) for each in others]
    head = ["", "source", *(["FID, paper"] if paper else [])]
    for title, distance in distances.items():
        verdict_of = "the paper's conclusion holds" if paper else "lower"
        head += [f"{_named(distance)}, {title}", "difference", verdict_of]
    head += [f"difference, {each}" for each in others]
    head += ["precision", "recall", "velocity error", "ms a step"]
    lines = [head, ["---", "---", *["--:"] * (len(head) - 2)]]
    for row in rows:
        cells = [row.title, row.source, *([_published(row)] if paper else [])]
        for distance in distances.values():
            apart = distance.difference(row)
            mean = str(distance.mean(row.name)) if row.name in distance.values else ""
            cells += [mean, _signed(apart), verdict(row.expected, apart)]
        cells += [_signed(each.difference(row)) for each in further]
        own = [*runs[row.name].values()]
        ends = [point for run in own if (point := known[0].of(row, run))]
        cells += [
            _mean([end.scores[first][key].score.value for end in ends], 3)
            for key in ("precision", "recall")
        ]
        cells.append(_mean([end.velocity_error for end in ends], 4))
        cells.append(f"{1e3 * own[0].step_seconds:.0f}")
        lines.append(cells)
    return table(lines)


def note(plan: Plan, runs: Runs, distance: Measured) -> str:
    """Return how the tables were measured."""
    one = next(iter(next(iter(runs.values())).values()))
    seeds = sorted({len(own) for own in runs.values()})
    how = f"{plan.seconds:g} seconds of a processor and {' or '.join(map(str, seeds))} "
    how += "seed a row" if seeds == [1] else "seeds a row"
    sampled = ", ".join(f"`{name}={value}`" for name, value in plan.sampling.items())
    how += f", {one.count:,} images a run, sampled with {sampled}."
    if distance.spread.freedom:
        deviations = f"{distance.spread.deviation:.2f} between the runs of a row"
        if distance.within_seeds.freedom:
            deviations += f", {distance.within_seeds.deviation:.2f} without the effect of the seed"
        how += f" Standard deviation: {deviations}."
    return f"{how} One thread, {one.processor}, torch {one.versions['torch']}."


def curves(plan: Plan, runs: Runs) -> Figure:
    """Draw the distance of every row on the way, against seconds and against steps."""
    first, *_ = plan.contest.features
    rows = [row for row in plan.networks() if row.name in runs]
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(10, 4.6), dpi=144, layout="constrained")
        left, right = drawn.subplots(1, 2, sharey=True)
        for place, row in enumerate(rows):
            own = [*runs[row.name].values()]
            steps = sorted({point.steps for run in own for point in run.points})
            means = [
                statistics.mean(
                    point.scores[first].get(DISTANCE, point.scores[first][USUAL]).score.value
                    for run in own
                    if (point := run.at(each))
                )
                for each in steps
            ]
            colour = INK if row.base is None else COLOURS[place % len(COLOURS)]
            style = "-" if row.table == PAPER else "--"
            seconds = [each * own[0].step_seconds for each in steps]
            for axes, across in ((left, seconds), (right, steps)):
                axes.plot(
                    across, means, style, marker="o", ms=3, lw=1.4, color=colour, label=row.title
                )
        for axes, name in ((left, "seconds of a processor"), (right, "steps")):
            axes.set_yscale("log")
            axes.set_xlabel(name)
            axes.grid(color=FAINT, lw=0.8)
        left.set_ylabel(f"Fréchet distance, {first}")
        right.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
    return drawn


def _named(distance: Measured) -> str:
    return "Fréchet distance" + (" at infinite N" if distance.key == DISTANCE else "")


def _published(row: Row) -> str:
    if row.paper is None:
        return ""
    return f"{row.paper:.2f}" if row.expected is None else f"{row.paper:+.2f}"


def _signed(difference: Estimate | None) -> str:
    if difference is None:
        return ""
    sign = "+" if difference.mean >= 0 else ""
    return sign + str(difference)


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f}" if values else ""
