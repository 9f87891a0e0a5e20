"""Name of a data set -> Plan: the rows of docs/ablation.md, and what each is trained and scored on.

A row is the base of this scale with some settings of `adm train`, so that anyone can train it:
`adm train fashion --set unet.heads.heads=1 ...`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from results_plan import Contest, contests

PAPER, CONTINUED = "paper", "continued"  # the two tables
BASE, ATTENTION, COMBINED = "base", "attention-base", "combined"
# The paper's base (Table 1, first row) of the recipe's network: the other axes are the recipe's.
OF_BASE = "unet.heads.heads=1 unet.resampling=convolution"
SECONDS, SEEDS, COUNT = 800.0, 2, 2500  # processor seconds and runs of a row, images of a run
PILOT_SECONDS = 400.0


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: of its runs and files.
        title: in the table.
        settings: by which it differs from the row `base`, as `--set` takes them.
        base: the row that it is compared with, and whose settings it has too; None for the first.
        table: of the page.
        source: what it is from: a table of the paper, or another paper.
        paper: FID in the paper at 700,000 iterations, that of a base or a difference from it.
        expected: what is claimed of its distance at equal compute: lower than that of its base, or
            higher; None for a base.
        average: width of the average that is scored (`train.ema_widths`); None for the model's own.
    """

    name: str
    title: str
    settings: str = ""
    base: str | None = BASE
    table: Literal["paper", "continued"] = PAPER
    source: str = "Table 1"
    paper: float | None = None
    expected: Literal["lower", "higher"] | None = "lower"
    average: float | None = None


def paper_rows(deep: int, width: int) -> tuple[Row, ...]:
    """Return the rows of Tables 1 to 3 of the paper.

    All layers with attention have the same width here, so that a number of heads and a number of
    channels a head are one network, which is trained once.

    Args:
        deep: channels of the row with twice the blocks, which has about as many parameters.
        width: channels of the layers with attention.
    """
    t1, t2, t3 = (f"Table {number}" for number in (1, 2, 3))
    more, biggan = "unet.attention_factors=2,4", "unet.resampling=biggan"
    heads = {count: f"unet.heads.heads={count}" for count in (1, 2, 4, 8)}
    both = f"{more} {biggan}"

    def wide(count: int, paper: float) -> Row:
        title = f"{width // count} channels a head"
        return Row(f"width-{width // count}", title, heads[count], ATTENTION, PAPER, t2, paper)

    return (
        Row(BASE, "base", OF_BASE, None, PAPER, t1, 15.33, None),
        # -0.21 at equal steps; "takes longer to reach the same performance as a wider model".
        Row(
            "depth",
            f"depth 4, {deep} channels",
            f"unet.depth=4 unet.channels={deep}",
            BASE,
            PAPER,
            f"{t1}, Figure 2",
            -0.21,
            "higher",
        ),
        Row("heads-4-alone", "4 heads", heads[4], BASE, PAPER, t1, -0.54),
        Row("attention", "attention at two sizes", more, BASE, PAPER, t1, -0.72),
        Row("biggan", "BigGAN up- and down-sampling", biggan, BASE, PAPER, t1, -1.20),
        Row(
            "rescale",
            "rescaled residuals",
            "unet.rescale_residual=true",
            BASE,
            PAPER,
            t1,
            0.16,
            "higher",
        ),
        Row(
            COMBINED,
            "all combined: 4 heads, attention at two sizes, BigGAN",
            f"{both} {heads[4]}",
            BASE,
            PAPER,
            t1,
            -3.14,
        ),
        Row(
            ATTENTION, "1 head, attention at two sizes, BigGAN", both, BASE, PAPER, t2, 14.08, None
        ),
        Row("heads-2", "2 heads", heads[2], ATTENTION, PAPER, t2, -0.50),
        Row("heads-4", "4 heads", heads[4], ATTENTION, PAPER, t2, -0.97),
        Row("heads-8", "8 heads", heads[8], ATTENTION, PAPER, t2, -1.17),
        # 32, 64 and 128 channels of the paper's 128 x (1 to 4); a quarter of them here.
        wide(8, -1.36),
        wide(4, -1.03),
        wide(2, -1.08),
        Row(
            "addition",
            "addition and GroupNorm, not AdaGN",
            "unet.adaptive_norm=false",
            COMBINED,
            PAPER,
            t3,
            2.02,
            "higher",
        ),
    )


def _later(name: str, title: str, settings: str, source: str, average: float | None = None) -> Row:
    return Row(name, title, settings, COMBINED, CONTINUED, source, average=average)


# What was found since, each on all combined.
LATER = (
    _later("importance", "levels drawn by loss", "importance=true", "Nichol & Dhariwal 2021"),
    _later(
        "average-05",
        "average of width 0.05, after training",
        "train.ema_widths=0.05,0.1",
        "Karras et al. 2024",
        0.05,
    ),
    _later(
        "average-10",
        "average of width 0.1, after training",
        "train.ema_widths=0.05,0.1",
        "Karras et al. 2024",
        0.1,
    ),
)


@dataclass(frozen=True)
class Plan:
    """What is trained and scored on one data set.

    Attributes:
        name: of the section of the page, and of the folders.
        recipe: that the settings of all rows change.
        contest: data, reference and features by which samples are scored.
        rows: in the order of the page.
        seconds: of one thread of a processor, for the training steps of a run.
        seeds: number of runs of a row.
        count: images of a run that are scored.
        common: settings of all rows.
        sampling: changes to the recipe's settings of sampling, by name.
    """

    name: str
    recipe: str
    contest: Contest
    rows: tuple[Row, ...]
    seconds: float = SECONDS
    seeds: int = SEEDS
    count: int = COUNT
    common: tuple[str, ...] = ()
    sampling: tuple[tuple[str, Any], ...] = ()

    def row(self, name: str) -> Row:
        (found,) = (each for each in self.rows if each.name == name)
        return found

    def settings(self, row: Row) -> tuple[str, ...]:
        """Return the settings of a row, with those of its base, and without those of all rows."""
        before = () if row.base is None else self.settings(self.row(row.base))
        last = {each.split("=", 1)[0]: each for each in (*before, *row.settings.split())}
        return tuple(last.values())

    def trained(self, row: Row) -> Row:
        """Return the first row of the same network and training, whose runs are this row's too."""
        same = set(self.settings(row))
        return next(each for each in self.rows if set(self.settings(each)) == same)

    def scored(self, row: Row) -> Row:
        """Return the first row of the same weights, whose scores are this row's too."""
        of = (self.trained(row), row.average)
        return next(each for each in self.rows if (self.trained(each), each.average) == of)

    def networks(self) -> tuple[Row, ...]:
        """Return the rows that are trained."""
        return tuple(row for row in self.rows if self.trained(row) == row)

    def weights(self) -> tuple[Row, ...]:
        """Return the rows that are scored."""
        return tuple(row for row in self.rows if self.scored(row) == row)

    def only(self, names: Sequence[str] | None) -> "Plan":
        """Return the plan of some rows and of the rows that they are compared with."""
        if names is None:
            return self
        kept = {each for name in names for each in self._with_bases(self.row(name))}
        return replace(self, rows=tuple(row for row in self.rows if row.name in kept))

    def _with_bases(self, row: Row) -> Iterator[str]:
        yield row.name
        if row.base is not None:
            yield from self._with_bases(self.row(row.base))


def plans() -> dict[str, Plan]:
    """Return the plans by the name of their data."""
    known = contests()
    return {
        name: Plan(name, name, known[name], (*paper_rows(deep, width), *LATER))
        for name, deep, width in (("fashion", 24, 64), ("emoji", 40, 96))
    }


def pilot(plan: Plan) -> Plan:
    """Return the short plan that shows how well the data separate the base from all combined."""
    rows = plan.only([COMBINED]).rows
    return replace(plan, name=f"pilot-{plan.name}", rows=rows, seconds=PILOT_SECONDS)
