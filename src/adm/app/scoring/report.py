"""Scores, ClassScores, manifest -> Report, a JSON file, printed tables."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adm.app.notices import quiet
from adm.app.scoring.scores import ClassScores
from adm.metrics import Score, title
from adm.shown import printable
from adm.store.files import write_text
from adm.store.parsed import CLASSES, as_type, read_json

CLASSES_SHOWN = 20  # rows printed; the file has all


@dataclass(frozen=True, eq=False)
class Report:
    """Scores with everything that they depend on.

    Attributes:
        features: name of the features.
        scores: key -> score; see `adm.metrics.METRICS`.
        manifest: samples, reference, features and options of the comparison.
        classes: scores of each class, if samples and reference have labels.
        warnings: reasons why the scores are not comparable with others.
    """

    features: str
    scores: dict[str, Score]
    manifest: dict[str, Any]
    classes: Sequence[ClassScores] = ()
    warnings: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the JSON file; each score has its title."""
        return {
            "features": self.features,
            "scores": {
                key: {"title": title(key, self.features)} | score.to_json()
                for key, score in self.scores.items()
            },
            "classes": [row._asdict() for row in self.classes],
            "warnings": list(self.warnings),
            "manifest": self.manifest,
        }

    def save(self, path: str | Path) -> None:
        """Write the JSON file atomically; equal reports give equal bytes."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        write_text(Path(path), text)

    def show(self, console: Console) -> None:
        """Print the tables, and the warnings unless notices are switched off."""
        sides = (self.manifest.get(side, {}) for side in ("generated", "reference"))
        names = list[str]()
        for side in sides:
            count = side.get("count")
            of = "number of images unknown" if count is None else f"{count:,} images"
            names.append(f"{side.get('source', '?')} ({of})")
        table = _table(" against ".join(names))
        table.add_column("score")
        table.add_column("value", justify="right")
        table.add_column("95% interval", justify="right")
        for key, score in self.scores.items():
            value, low, high = map(_number, score)
            ends = f"{low} to {high}" if low and high else ""
            table.add_row(Text(printable(title(key, self.features))), value, ends)
        console.print(table)
        if any(_number(value) for row in self.classes for value in row[3:]):
            console.print(_class_table(self.classes, self.features))
        for warning in () if quiet() else self.warnings:
            console.print(f"note: {printable(warning)}", highlight=False, markup=False, emoji=False)


def load_report(path: str | Path) -> Report:
    """Open a file of `Report.save`.

    Raises:
        ValueError: the file is not a report, or is damaged.
    """
    try:
        found = as_type(_Stored, read_json(Path(path), CLASSES))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a report ({error}); evaluate again") from None
    scores = {key: one.score for key, one in found.scores.items()}
    return Report(found.features, scores, found.manifest, found.classes, found.warnings)


@dataclass(frozen=True)
class StoredScore:
    """A score as JSON; None stands for NaN, and a title is not read."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def score(self) -> Score:
        return Score(*(math.nan if x is None else x for x in (self.value, self.low, self.high)))


@dataclass(frozen=True)
class _Stored:
    """What `Report.to_json` returns."""

    features: str
    scores: dict[str, StoredScore]
    classes: tuple[ClassScores, ...]
    warnings: tuple[str, ...]
    manifest: dict[str, Any]


def _number(value: float | None) -> str:
    """Format a number with about four significant digits; None and NaN are empty."""
    if value is None or math.isnan(value):
        return ""
    digits = max(0, min(5, 4 - math.floor(math.log10(abs(value))) - 1)) if value else 1
    return f"{value:.{digits}f}"


def _class_table(classes: Sequence[ClassScores], features: str) -> Table:
    more = f", the first {CLASSES_SHOWN} of {len(classes)}" if len(classes) > CLASSES_SHOWN else ""
    table = _table(f"by class ({features}){more}")
    for name in ("class", "samples", "real", "Fréchet distance", "precision", "recall"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in classes[:CLASSES_SHOWN]:
        numbers = map(_number, row[3:])
        table.add_row(Text(printable(row.name)), f"{row.generated:,}", f"{row.real:,}", *numbers)
    return table


def _table(heading: str) -> Table:
    # `Text` prints names such as [husky] and :dog: literally; rich parses strings as markup.
    return Table(title=Text(printable(heading), style="table.title"), title_justify="left")
