"""Name of a data set -> Plan: the rows of the ablation, and what each is trained and scored on.

A row is the base of this scale with some settings of `adm train`, so that anyone can train it:
`adm train fashion --set unet.heads.heads=1 ...`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from results_plan import ODE, Contest, contests

PAPER, CONTINUED = "paper", "continued"  # the two tables
BASE, ATTENTION, COMBINED = "base", "attention-base", "combined"
# The paper's base (Table 1, first row) of the recipe's network, whose other axes are the recipe's;
# and half of the recipe's batch, with which a short run comes further: the base's distance after
# 800 s is 26.5 in place of 38.5.
OF_BASE = (
    "unet.heads.heads=1 unet.resampling=convolution train.batch_size=64 train.warmup_steps=100"
)
SECONDS, SEEDS, COUNT = 2000.0, 2, 2500  # processor seconds and runs of a row, images of a run
SAMPLING = {**ODE, "precision": "bfloat16"}  # not a recipe's, whose default may change


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
    """

    name: str
    title: str
    settings: str = ""
    base: str | None = BASE
    table: Literal["paper", "continued"] = PAPER
    source: str = "Table 1"
    paper: float | None = None
    expected: Literal["lower", "higher"] | None = "lower"


def _of(source: str, base: str) -> Callable[..., Row]:
    """Return a function that makes a row of a table of the paper."""

    def row(
        name: str,
        title: str,
        settings: str,
        paper: float,
        expected: Literal["lower", "higher"] = "lower",
    ) -> Row:
        return Row(name, title, settings, base, PAPER, source, paper, expected)

    return row


def paper_rows(deep: int, width: int) -> tuple[Row, ...]:
    """Return the rows of Tables 1 to 3 of the paper.

    All layers with attention have the same width here, so that a number of heads and a number of
    channels a head are one network, which is trained once.

    Args:
        deep: channels of the row with twice the blocks, which has about as many parameters.
        width: channels of the layers with attention.
    """
    t1, t2, t3 = _of("Table 1", BASE), _of("Table 2", ATTENTION), _of("Table 3", COMBINED)
    more, biggan = "unet.attention_factors=2,4", "unet.resampling=biggan"
    heads = {count: f"unet.heads.heads={count}" for count in (2, 4, 8)}
    narrow = f"unet.depth=4 unet.channels={deep}"

    def wide(count: int, paper: float) -> Row:
        own = width // count
        return t2(f"width-{own}", f"{own} channels a head", heads[count], paper)

    return (
        Row(BASE, "base", OF_BASE, None, PAPER, "Table 1", 15.33, None),
        # At equal steps; the paper's Figure 2 finds that it "takes longer to reach the same
        # performance as a wider model".
        t1("depth", f"depth 4, {deep} channels", narrow, -0.21, "higher"),
        t1("heads-4-alone", "4 heads", heads[4], -0.54),
        t1("attention", "attention at two sizes", more, -0.72),
        t1("biggan", "BigGAN up- and down-sampling", biggan, -1.20),
        t1("rescale", "rescaled residuals", "unet.rescale_residual=true", 0.16, "higher"),
        t1(
            COMBINED,
            "all combined: 4 heads, attention, BigGAN",
            f"{more} {biggan} {heads[4]}",
            -3.14,
        ),
        Row(
            *(ATTENTION, "1 head, attention, BigGAN", f"{more} {biggan}"),
            *(BASE, PAPER, "Table 2", 14.08, None),
        ),
        t2("heads-2", "2 heads", heads[2], -0.50),
        t2("heads-4", "4 heads", heads[4], -0.97),
        t2("heads-8", "8 heads", heads[8], -1.17),
        # 32, 64 and 128 channels of the paper's 128 x (1 to 4); a quarter of them here.
        wide(8, -1.36),
        wide(4, -1.03),
        wide(2, -1.08),
        t3("addition", "addition, not AdaGN", "unet.adaptive_norm=false", 2.02, "higher"),
    )


def later(name: str, title: str, settings: str, source: str) -> Row:
    """Return a row of what has come since, a change of all combined."""
    return Row(name, title, settings, COMBINED, CONTINUED, source)


LATER = (
    later("by-loss", "levels drawn by loss", "levels=by-loss", "Nichol & Dhariwal 2021"),
    later("log-normal", "log-normal levels", "levels=log-normal", "Karras et al. 2022"),
    later(
        "edm",
        "log-normal levels, EDM's preconditioning",
        "levels=log-normal process.prediction=edm",
        "Karras et al. 2022",
    ),
    later("muon", "Muon for the matrices", "train.optimizer=muon", "Jordan 2024"),
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
        sampling: settings of all rows, by name.
        chosen: names of the rows to train and score, with those that they are compared with; None
            for all.
    """

    name: str
    recipe: str
    contest: Contest
    rows: tuple[Row, ...]
    seconds: float = SECONDS
    seeds: int = SEEDS
    count: int = COUNT
    common: tuple[str, ...] = ()
    sampling: dict[str, Any] = field(default_factory=lambda: dict(SAMPLING))
    chosen: tuple[str, ...] | None = None

    def row(self, name: str) -> Row:
        """Return the row of a name; raise ValueError if there is none."""
        rows = {each.name: each for each in self.rows}
        if name not in rows:
            raise ValueError(f"no row is called {name!r}; the rows are {', '.join(rows)}")
        return rows[name]

    def settings(self, row: Row) -> tuple[str, ...]:
        """Return the settings of a row, with those of its base and those of all rows."""
        before = self.common if row.base is None else self.settings(self.row(row.base))
        last = {each.split("=", 1)[0]: each for each in (*before, *row.settings.split())}
        return tuple(last.values())

    def trained(self, row: Row) -> Row:
        """Return the first row of the same network and training, whose runs are this row's too."""
        same = set(self.settings(row))
        return next(each for each in self.rows if set(self.settings(each)) == same)

    def networks(self) -> tuple[Row, ...]:
        """Return the rows to train, and to score on the way."""
        return tuple(dict.fromkeys(map(self.trained, self._chosen())))

    def _chosen(self) -> tuple[Row, ...]:
        if self.chosen is None:
            return self.rows
        names = {each for name in self.chosen for each in self._with_bases(self.row(name))}
        return tuple(row for row in self.rows if row.name in names)

    def _with_bases(self, row: Row) -> Iterator[str]:
        yield row.name
        if row.base is not None:
            yield from self._with_bases(self.row(row.base))


def plans() -> dict[str, Plan]:
    """Return the plans by the name of their data."""
    known = {
        name: replace(each, features=(each.features[0], each.judge))
        for name, each in contests().items()
    }
    return {
        name: Plan(name, name, known[name], (*paper_rows(deep, width), *LATER))
        for name, deep, width in (("fashion", 24, 64), ("emoji", 40, 96))
    }
