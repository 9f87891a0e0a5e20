"""Study, Scoring -> Result: every point sampled and scored, by one rank or several.

Each point's samples and scores are saved as soon as they exist, so that the same call resumes after
an interruption. The ranks share the images of every point, and then the points to score.
"""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from adm.app.study.scoring import Scoring, judge_accuracy, judge_name, score_point
from adm.app.study.study import POINTS, SAMPLES, CacheFile, Point, Study, Value
from adm.app.study.timing import TimedJob, Timing, machine_of
from adm.generation.folder import damage, holds, sample_into
from adm.generation.generator import Cost, OnStep
from adm.metrics import METRICS
from adm.processes import Devices
from adm.progress import displayed, progress, silent
from adm.scoring import Extraction, Report, Score, title
from adm.scoring.manifest import versions
from adm.store.samples import MANIFEST

log = logging.getLogger("adm")
JUDGE_ACCURACY = "judge accuracy"  # key of the judge's score
MODELS = ("model", "classifier", "weak", "upsampler")  # of a sampling manifest


class NetworkScores(NamedTuple):
    """The scores of every point in the features of one network.

    Attributes:
        network: its name.
        scores: for each point of the study, key -> score; see `adm.scoring.report`.
    """

    network: str
    scores: list[dict[str, Score]]

    @property
    def keys(self) -> list[str]:
        """The scores that every point has."""
        return [key for key in self.scores[0] if all(key in row for row in self.scores)]

    def title(self, key: str) -> str:
        """The title of a score, with the network's name."""
        return f"{key} ({self.network})" if key == JUDGE_ACCURACY else title(key, self.network)

    def short_title(self, key: str) -> str:
        """The title of a score without the network's name, for tables and figures that have it."""
        return self.title(key).removesuffix(f" ({self.network})")


class ScoredPoint(NamedTuple):
    """A point of a study with what was measured.

    Attributes:
        settings: of sampling, by name.
        calls: of the networks, for an image.
        seconds: of an image, when others are sampled with it.
        unbeaten: whether no other point is faster and at least as good by the first score, or as
            fast and better.
        scores: title, such as `Fréchet distance (fashion-judge)` -> score.
    """

    settings: dict[str, Value]
    calls: Cost
    seconds: float
    unbeaten: bool
    scores: dict[str, Score]


@dataclass(frozen=True, eq=False)
class Result:
    """A study that has been scored.

    Attributes:
        networks: the scores by each network.
        notes: on the scores: what makes them incomparable with others.
        manifest: models, settings, references, features and versions.
        seconds: of an image, for each point.
    """

    study: Study
    networks: list[NetworkScores]
    notes: list[str]
    manifest: dict[str, Any]
    seconds: list[float]

    @cached_property
    def unbeaten(self) -> list[bool]:
        """Whether nothing beats each point in both time and the first score."""
        first = self.networks[0]
        key = first.keys[0]
        sign = 1 if lower_is_better(key) else -1
        costs = [sign * row[key].value for row in first.scores]
        return unbeaten(list(zip(self.seconds, costs, strict=True)))

    @property
    def points(self) -> list[ScoredPoint]:
        """The points in their order, each with its settings and scores."""
        return [
            ScoredPoint(
                point.settings,
                self.study.job(point).cost,
                self.seconds[i],
                self.unbeaten[i],
                {
                    network.title(key): score
                    for network in self.networks
                    for key, score in network.scores[i].items()
                },
            )
            for i, point in enumerate(self.study.points)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the points with what was measured, and the manifest, as JSON values."""
        points = []
        for point, scored in zip(self.study.points, self.points, strict=True):
            job = self.study.job(point)
            points.append(
                {
                    "name": point.name,
                    "settings": scored.settings,
                    "sampling": job.manifest().get("sampling"),
                    "calls_per_image": asdict(scored.calls),
                    "seconds_per_image": scored.seconds,
                    "unbeaten": scored.unbeaten,
                    "scores": {title: score.to_json() for title, score in scored.scores.items()},
                }
            )
        return {"points": points, "notes": self.notes, "manifest": self.manifest}

    def rows(self) -> list[dict[str, Value]]:
        """Return a row of a table for each point: settings, calls, seconds, scores with ends."""
        rows = list[dict[str, Value]]()
        for each in self.points:
            row = each.settings | {
                "network calls": each.calls.network,
                "classifier calls": each.calls.classifier,
                "seconds an image": each.seconds,
                "nothing beats it": each.unbeaten,
            }
            for name, score in each.scores.items():
                ends = {f"{name}, low": score.low, f"{name}, high": score.high}
                row |= {name: score.value, **ends}
            rows.append(row)
        return rows


def unbeaten(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return which points no other beats: is lower in one coordinate and not higher in the other.

    Args:
        points: such as (seconds, distance).
    """
    return [not any(x <= a and y <= b and (x, y) != (a, b) for x, y in points) for a, b in points]


def lower_is_better(key: str) -> bool:
    """Whether the lower one of two scores is better."""
    return key in METRICS and METRICS[key].lower_is_better


def run(
    study: Study, scoring: Scoring, out: Path, *, devices: Devices, batch_size: int = 64
) -> Result:
    """Sample and score every point, together with the other ranks.

    Args:
        out: the folder of the study; samples and scores of an earlier call are reused.
        devices: the ranks, all of which must make the call.
        batch_size: images per call of a network of features.

    Returns:
        The result, on every rank.

    Raises:
        SettingError: the folder holds samples of other settings.
        ValueError: it holds images that cannot be scored.
    """
    scoring.check(study.model.shape)
    points = study.points
    devices.once(lambda: _check(study, out))
    evaluations = {point: study.job(point).evaluations for point in points}
    done = sum(evaluations[point] for point in points if _place(point, out).exists())
    total = sum(evaluations.values())
    with progress("sampling", total, "network evaluations", done, shown=devices.main) as advance:
        timings = [sample_point(study, point, out, devices, advance) for point in points]
    # One rank scores a point, since most of its scores are computed by one rank alone.
    extraction = Extraction(Devices(devices.device), batch_size)
    own = points[devices.rank :: devices.world]
    bar = progress("scoring", len(own), "points", shown=devices.main)
    with bar as advance, displayed(silent):

        def score(point: Point) -> tuple[list[Report], Score | None]:
            scored = _score(scoring, point, out, extraction)
            advance(1)
            return scored

        scored = devices.map(score, points)
    return _collect(study, scoring, scored, timings)


def _check(study: Study, out: Path) -> None:
    """Refuse a folder of other samples before any are made; remove damaged ones, to make again."""
    for point in study.points:
        place = _place(point, out)
        if (place / MANIFEST).is_file() and damage(place):
            log.warning(f"{place} is damaged, and sampled again")
            shutil.rmtree(place)
        holds(place, study.job(point))


def sample_point(
    study: Study,
    point: Point,
    out: Path,
    devices: Devices,
    on_step: OnStep = lambda evaluations: None,
) -> Timing:
    """Sample a point, unless its sample folder exists already, and time it once.

    Args:
        out: the folder of the study.
        devices: the ranks that share the images, as in `sample_into`.
        on_step: see `sample_into`; not called if the sample folder exists.

    Returns:
        How long its images took when they were sampled.

    Raises:
        SettingError: the folder holds samples of other settings, or damaged ones.
    """
    job, place = TimedJob.of(study.job(point)), _place(point, out)
    if not devices.once(lambda: holds(place, job)):
        place.parent.mkdir(parents=True, exist_ok=True)
        sample_into(place, job, on_step=on_step, devices=devices)
    shortest = min(devices.gather(job.shortest))
    path = out / POINTS / f"{point.name}.seconds.json"
    kept = CacheFile[Timing](path, {"made": job.generator.manifest()}, Timing)

    def timed() -> Timing:
        timing = kept.read()
        if timing is None:
            seconds = shortest if math.isfinite(shortest) else job.measure()
            timing = Timing(seconds, machine_of(study.model.device))
            kept.write(asdict(timing))
        return timing

    return devices.once(timed)


def _place(point: Point, out: Path) -> Path:
    return out / SAMPLES / point.name


def _score(
    scoring: Scoring, point: Point, out: Path, extraction: Extraction
) -> tuple[list[Report], Score | None]:
    """Return a point's report by each scorer, and the judge's accuracy if there is a judge."""
    name, place = point.name, _place(point, out)
    reports = [score_point(scorer, name, place, out, extraction) for scorer in scoring.scorers]
    if scoring.judge is None:
        return reports, None
    return reports, judge_accuracy(scoring.judge, name, place, out, scoring.labels)


def _collect(
    study: Study,
    scoring: Scoring,
    scored: Sequence[tuple[list[Report], Score | None]],
    timings: Sequence[Timing],
) -> Result:
    """Collect the reports, the judge's accuracy and the seconds of each point."""
    columns = list(zip(*(reports for reports, _ in scored), strict=True))
    scores = {
        reports[0].features: [dict(report.scores) for report in reports] for reports in columns
    }
    if scoring.judge is not None:
        rows = scores.setdefault(judge_name(scoring.judge), [{} for _ in scored])
        for row, (_, accuracy) in zip(rows, scored, strict=True):
            assert accuracy is not None
            row[JUDGE_ACCURACY] = accuracy
    networks = [NetworkScores(name, rows) for name, rows in scores.items()]
    manifest = _manifest(study, scored[0][0])
    manifest["machine"] = "; ".join(sorted({each.machine for each in timings}))
    seconds = [each.seconds for each in timings]
    return Result(study, networks, _notes(study.count, columns), manifest, seconds)


def _notes(count: int, columns: Sequence[Sequence[Report]]) -> list[str]:
    """Return a note on the number of samples, and the warnings that all points share."""
    size = (
        f"Each point has {count:,} samples. The Fréchet distance, recall and coverage depend "
        "on that number: compare only these points with each other."
    )
    common = [
        set.intersection(*(set(report.warnings) for report in reports)) for reports in columns
    ]
    return [size, *sorted({f"{text[:1].upper()}{text[1:]}." for one in common for text in one})]


def _manifest(study: Study, reports: Sequence[Report]) -> dict[str, Any]:
    """Return what all points share; the settings of each are in its report and sample folder."""
    models: dict[str, Any] = {}
    for point in study.points:
        stated = study.job(point).manifest()
        for kind in MODELS:  # a classifier is that of the points it guides, and None of others
            models[kind] = models.get(kind) or stated.get(kind)
    return {
        **{kind: stated for kind, stated in models.items() if stated},
        "settings": dict(study.base),
        "vary": {axis.name: axis.values for axis in study.axes},
        "count": study.count,
        "seed": study.job(study.points[0]).generator.seed,
        "noise": "image i of every point: Philox, key (seed, i), counter (level)",
        "reference": {report.features: report.manifest["reference"] for report in reports},
        "features": [report.manifest["features"] for report in reports],
        "versions": versions(),
    }
