"""Row of a published table -> what it costs here; its scores here -> whether they agree."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from adm.app.report.blocks import Block, Cell, Note, Table, Title
from adm.app.report.page import page
from adm.metrics import METRICS, Score, title
from adm.scoring import Report

COUNT = 50_000  # images of a published score
Outcome: TypeAlias = Literal["agrees", "better", "worse"]
# What other seeds, kernels and resizers change: as a fraction, and of precision and recall by
# itself. The released evaluator and its ports differ by 0.04%, 0.07% and 0.0006.
RELATIVE, ABSOLUTE = 0.01, 0.005
SHARES = ("precision", "recall")
DROPOUT = "ADM (dropout)"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a published table.

    Attributes:
        title: of the row.
        source: the table.
        model, upsampler: public names.
        reference: public name of the reference batch.
        settings: changes to the model's settings of sampling.
        published: key of a score -> its value as it was printed.
        note: what the source does not state.
    """

    title: str
    source: str
    model: str
    reference: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, str]
    upsampler: str | None = None
    note: str = ""


IN_25: dict[str, Any] = {"sampler": "ddim", "grid": "strided:steps=25"}
OF_README = "The scale of the base is not stated in the table; it is that of its README."


def _imagenet(size: int, name: str, scores: str, base: int | None = None, **settings: Any) -> Row:
    """Return a row of Table 5, or of Table 6 if the images of `base` pixels a side are enlarged."""
    upsampled = base is not None and settings["scale"] > 0
    return Row(
        title=f"{name}, ImageNet {size}x{size}",
        source="Table 5" if base is None else "Table 6",
        model=f"openai/{base or size}x{base or size}-diffusion",
        upsampler=None if base is None else f"openai/{base}-{size}-upsampler",
        reference=f"openai/imagenet{size}-reference",
        settings=settings,
        published=_scores(scores),
        note=OF_README if upsampled else "",
    )


def _lsun(name: str, file: str, scores: str) -> Row:
    what = file.removesuffix("-nodropout")
    reference = f"openai/lsun-{what}-reference"
    title, model = f"{name}, LSUN {what}", f"openai/lsun-{file}"
    return Row(
        title=title, source="Table 5", model=model, reference=reference, published=_scores(scores)
    )


def _scores(printed: str) -> dict[str, str]:
    """FID, sFID, precision, recall and, of some rows, Inception Score, as they were printed."""
    keys = ("frechet", "spatial_frechet", *SHARES, "inception_score")
    return dict(zip(keys, printed.split(), strict=False))


# Second-hand: the scales of 25 steps, from users of the released models, and all Inception Scores
# but that of ADM-G, ADM-U at 256x256, from papers that score the released samples.
# fmt: off
ROWS: dict[str, Row] = {
    "imagenet64": _imagenet(64, DROPOUT, "2.07 4.29 0.74 0.63", scale=0.0),
    "imagenet128": _imagenet(128, "ADM", "5.91 5.09 0.70 0.65", scale=0.0),
    "imagenet128-guided-25":
        _imagenet(128, "ADM-G, 25 steps", "5.98 7.04 0.78 0.51", scale=1.25, **IN_25),
    "imagenet128-guided": _imagenet(128, "ADM-G", "2.97 5.09 0.78 0.59", scale=0.5),
    "imagenet256": _imagenet(256, "ADM", "10.94 6.02 0.69 0.63 100.98", scale=0.0),
    "imagenet256-guided-25":
        _imagenet(256, "ADM-G, 25 steps", "5.44 5.32 0.81 0.49", scale=2.5, **IN_25),
    "imagenet256-guided": _imagenet(256, "ADM-G", "4.59 5.25 0.82 0.52 186.70", scale=1.0),
    "imagenet512": _imagenet(512, "ADM", "23.24 10.19 0.73 0.60 58.06", scale=0.0),
    "imagenet512-guided-25":
        _imagenet(512, "ADM-G, 25 steps", "8.41 9.67 0.83 0.47", scale=9.0, **IN_25),
    "imagenet512-guided": _imagenet(512, "ADM-G", "7.72 6.57 0.87 0.42 172.71", scale=4.0),
    "imagenet256-upsampled": _imagenet(256, "ADM-U", "7.49 5.13 0.72 0.63 127.49", 64, scale=0.0),
    "imagenet256-guided-upsampled":
        _imagenet(256, "ADM-G, ADM-U", "3.94 6.14 0.83 0.53 215.84", 64, scale=1.0),
    "imagenet512-upsampled": _imagenet(512, "ADM-U", "9.96 5.62 0.75 0.64 121.78", 128, scale=0.0),
    "lsun-bedroom": _lsun(DROPOUT, "bedroom", "1.90 5.59 0.66 0.51"),
    "lsun-horse": _lsun(DROPOUT, "horse", "2.57 6.81 0.71 0.55"),
    "lsun-horse-nodropout": _lsun("ADM", "horse-nodropout", "2.95 5.94 0.69 0.55"),
    "lsun-cat": _lsun(DROPOUT, "cat", "5.57 6.69 0.63 0.52"),
}
# fmt: on


@dataclass(frozen=True)
class Verdict:
    """A published score beside ours.

    Attributes:
        key: of the score.
        published: as it was printed.
        ours: with its interval.
    """

    key: str
    published: str
    ours: Score

    @property
    def difference(self) -> float:
        return self.ours.value - float(self.published)

    @property
    def outcome(self) -> Outcome:
        """Whether the published value, as it was rounded, is within our interval or near it."""
        value, decimals = float(self.published), len(self.published.partition(".")[2])
        near = ABSOLUTE if self.key in SHARES else RELATIVE * abs(value)
        near += 0.5 * 10.0**-decimals
        low, high = self.ours.low, self.ours.high
        low = self.ours.value if math.isnan(low) else low
        high = self.ours.value if math.isnan(high) else high
        if low - near <= value <= high + near:
            return "agrees"
        larger = self.difference > 0
        return "better" if larger != METRICS[self.key].lower_is_better else "worse"


def verdicts(row: Row, scores: Mapping[str, Score]) -> list[Verdict]:
    """Return the published scores beside ours, where we have both."""
    return [
        Verdict(key, value, scores[key]) for key, value in row.published.items() if key in scores
    ]


def conclusion(compared: list[Verdict], differing: list[str]) -> str:
    """Return a sentence on all scores.

    Args:
        differing: reasons why the scores are not those of the row.
    """
    if differing:
        return f"Not comparable with the row: {'; '.join(differing)}."
    off = [
        f"{title(each.key, 'inception')} is {each.outcome}"
        for each in compared
        if each.outcome != "agrees"
    ]
    if not off:
        return "Reproduced: every score agrees with what was published."
    return f"Not reproduced: {', '.join(off)} than what was published."


@dataclass(frozen=True, eq=False)
class Reproduction:
    """A row that was sampled and scored again.

    Attributes:
        scored: the scores of the samples.
        differing: reasons why they are not those of the row.
    """

    row: Row
    scored: Report
    differing: list[str]

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return verdicts(self.row, self.scored.scores)

    @property
    def conclusion(self) -> str:
        return conclusion(self.verdicts, self.differing)

    def title(self, verdict: Verdict) -> str:
        """Return the title of a score, with the name of the features."""
        return title(verdict.key, self.scored.features)

    def to_json(self) -> dict[str, Any]:
        """Return the row, the verdicts and the manifest of the scores as JSON values."""
        return {
            "row": {name: getattr(self.row, name) for name in ("title", "source", "model")},
            "conclusion": self.conclusion,
            "scores": [
                {
                    "key": each.key,
                    "title": self.title(each),
                    "published": float(each.published),
                    "ours": each.ours.to_json(),
                    "difference": each.difference,
                    "verdict": each.outcome,
                }
                for each in self.verdicts
            ],
            "warnings": list(self.scored.warnings),
            "manifest": self.scored.manifest,
        }

    def page(self) -> str:
        """Return the HTML page: the conclusion, and the published scores beside ours."""
        lines = []
        for each in self.verdicts:
            value, low, high = (f"{x:.4g}" for x in each.ours)
            ours = Cell(value, "" if low == "nan" else f"{low} to {high}")
            shift = f"{each.difference:+.4g}"
            lines.append((self.title(each), each.published, ours, shift, each.outcome))
        notes = [self.row.note] if self.row.note else []
        notes += [f"{warning}." for warning in self.scored.warnings]
        blocks: list[Block] = [
            Note([self.conclusion], "result"),
            Title("Scores"),
            Table(("score", "published", "ours", "difference", "verdict"), lines),
            *([Note(notes, "quiet")] if notes else []),
        ]
        lead = f"{self.row.source} of the paper, sampled and scored again."
        return page(self.row.title, blocks, lead=lead, settings=self.scored.manifest)
