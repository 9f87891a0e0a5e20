"""Scores, ClassScores, manifest -> Report <-> a JSON file."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adm.app.scoring.scores import ClassScores
from adm.metrics import Score, title
from adm.store.files import write_text
from adm.store.parsed import CLASSES, as_type, read_json


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
