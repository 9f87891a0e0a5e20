"""Reports of a Row -> its scores in a JSON file, and back.

The files are small and hold everything in the tables, so that they are published in docs/results/
and that another machine can go on where one has stopped: copy them to out/results/NAME/scores.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results_gan
from results_plan import FEW, Contest, Row

from adm.runs.processor import describe_processor
from adm.scoring import Score, load_report
from adm.scoring.manifest import versions
from adm.scoring.report import StoredScore
from adm.store.files import write_json
from adm.store.parsed import as_type, read_json

SCORES = "scores"  # folder of the files, in that of the contest
REPORT = "report.json"  # of `adm sweep`


@dataclass(frozen=True)
class _Stored:
    """A file of a row.

    Attributes:
        count: images.
        options: of `adm sample`, with the chosen truncation or scale as its value.
        made: what `adm sample` wrote of the samples, or a rival's weights; None for real images.
        scores: features -> key -> score.
        processor, versions: of the machine.
    """

    count: int
    options: dict[str, Any]
    made: dict[str, Any] | None
    scores: dict[str, dict[str, StoredScore]]
    processor: str
    versions: dict[str, str]


def of_few(features: str) -> str:
    """Return the name of the scores of the first `FEW` images alone.

    Recall falls as images are added, so that only those of the same number are comparable.
    """
    return f"{features}-{FEW}"


def row_file(place: Path, row: Row) -> Path:
    return place / SCORES / f"{row.name}.json"


def store_row(
    place: Path,
    row: Row,
    options: dict[str, Any],
    reports: dict[str, Path],
    others: dict[str, dict[str, Score]],
) -> None:
    """Write the file of a row, or add scores to it if they are of this machine.

    Args:
        place: folder of the contest.
        options: of `adm sample`.
        reports: features -> file of `adm evaluate`.
        others: features -> key -> score of the same samples.
    """
    stored = stored_here(place, row)
    scores = stored.get("scores", {})
    counts, made = [stored.get("count", 0)], stored.get("made")
    for features, path in reports.items():
        report = load_report(path)
        scores[features] = {key: score.to_json() for key, score in report.scores.items()}
        counts.append(report.manifest["generated"]["count"])
        made = report.manifest["generated"].get("made")
    for features, own in others.items():
        scores.setdefault(features, {}).update({key: one.to_json() for key, one in own.items()})
    write_json(
        row_file(place, row),
        {
            "count": max(counts),
            "options": options,
            "made": results_gan.made(row.model) if row.rival and row.model is not None else made,
            "scores": scores,
            **machine(),
        },
    )


def stored_here(place: Path, row: Row) -> dict[str, Any]:
    """Return the file of a row; empty if there is none, or one of another machine."""
    file = row_file(place, row)
    stored: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return stored if machine().items() <= stored.items() else {}


def machine() -> dict[str, Any]:
    """Return what scores and times depend on beside the models."""
    return {"processor": describe_processor(), "versions": versions()}


def read_rows(contest: Contest, place: Path) -> dict[str, Any]:
    """Return the scores, options and count of each row that has a file, by name."""
    return {
        row.name: _shown(row_file(place, row))
        for row in contest.rows
        if row_file(place, row).exists()
    }


def times_file(place: Path) -> Path:
    return place / SCORES / "times.json"


def sweep_file(place: Path, axis: str) -> Path:
    """Return the file of a sweep, which has a folder of its own, as that of `adm sweep`."""
    return place / SCORES / f"by-{axis}" / REPORT


def swept(place: Path, axis: str) -> dict[float, Any]:
    """Return the stored points of a sweep, by truncation or scale."""
    return _by_strength(_sweep(place, axis)["points"])


def store_sweep(place: Path, axis: str, out: Path) -> None:
    """Add the points of `adm sweep` in a folder to the stored ones.

    Raises:
        ValueError: the stored points are of other models.
    """
    report, stored = json.loads((out / REPORT).read_text("utf-8")), _sweep(place, axis)
    models = {name: report["manifest"].get(name) for name in ("model", "classifier", "weak")}
    made = {name: stored["made"].get(name) for name in models}
    if stored["points"] and made != models:
        raise ValueError(f"{sweep_file(place, axis)} is of other models; remove it")
    points = swept(place, axis) | _by_strength(report["points"])
    sweep_file(place, axis).parent.mkdir(parents=True, exist_ok=True)
    ordered = [points[scale] for scale in sorted(points)]
    write_json(sweep_file(place, axis), {"made": models, "points": ordered})


def strength(point: dict[str, Any]) -> float:
    """Return the truncation or the scale of a point of a sweep."""
    (value,) = point["settings"].values()
    return float(value)


def _by_strength(points: list[dict[str, Any]]) -> dict[float, Any]:
    return {strength(point): point for point in points}


def _sweep(place: Path, axis: str) -> dict[str, Any]:
    file = sweep_file(place, axis)
    return json.loads(file.read_text("utf-8")) if file.exists() else {"made": {}, "points": []}


def _shown(path: Path) -> dict[str, Any]:
    stored = as_type(_Stored, read_json(path))
    scores = {
        features: {key: each.score for key, each in of.items()}
        for features, of in stored.scores.items()
    }
    return {"scores": scores, "options": stored.options, "count": stored.count}
