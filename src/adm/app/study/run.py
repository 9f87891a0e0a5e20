"""Sweep, Scoring -> SweepResult: every point sampled and scored, by one rank or several.

Each point's samples and scores are saved as soon as they exist, so that the same call resumes after
an interruption. The ranks share the images of every point, and then the points to score.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from adm.app.scoring import Extraction, Report, Score, title
from adm.app.scoring.manifest import versions
from adm.app.study.plan import SAMPLES, Named, P, Plan, sample_point
from adm.app.study.scoring import Scoring, judge_accuracy, judge_name, score_point
from adm.app.study.truncations import AnySweep
from adm.processes import Devices
from adm.store.locks import locked

JUDGE_ACCURACY = "judge accuracy"  # key of the judge's score

OnEvaluations = Callable[[int, str], None]


class NetworkScores(NamedTuple):
    """The scores of every point in the features of one network.

    Attributes:
        network: its name.
        scores: for each point of the sweep, key -> score; see `adm.app.scoring.scores`.
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


class Scored(NamedTuple):
    """The scores of a plan.

    Attributes:
        networks: the scores by each network.
        notes: on the scores: what makes them incomparable with others.
        reports: of the first point, by each network.
    """

    networks: list[NetworkScores]
    notes: list[str]
    reports: list[Report]


@dataclass(frozen=True, eq=False)
class SweepResult:
    """A sweep that has been scored.

    Attributes:
        networks: the scores by each network.
        notes: on the scores: what makes them incomparable with others.
        manifest: model, classifier, settings, references, features and versions.
    """

    sweep: AnySweep
    networks: list[NetworkScores]
    notes: list[str]
    manifest: dict[str, Any]


def run(
    sweep: AnySweep,
    scoring: Scoring,
    out: Path,
    *,
    devices: Devices,
    batch_size: int = 64,
    on_evaluations: OnEvaluations | None = None,
) -> SweepResult | None:
    """Sample and score every point, together with the other ranks.

    Args:
        out: the sweep folder; samples and scores of an earlier call are reused.
        devices: the ranks, all of which must make the call.
        batch_size: images per call of a network of features, and sampled between two saves.
        on_evaluations: called with a number of network evaluations, one image each, and the name
            of the point.

    Returns:
        The result on the main rank; None on the others.

    Raises:
        ValueError: the folder holds samples of another sweep, or images that cannot be scored.
    """
    found = score_points(
        sweep, scoring, out, devices=devices, batch_size=batch_size, on_evaluations=on_evaluations
    )
    if found is None:
        return None
    return SweepResult(sweep, found.networks, found.notes, _manifest(sweep, found.reports))


def score_points(
    plan: Plan[P],
    scoring: Scoring,
    out: Path,
    *,
    devices: Devices,
    batch_size: int = 64,
    on_evaluations: OnEvaluations | None = None,
) -> Scored | None:
    """Sample and score every point of a plan; see `run`."""
    scoring.check(plan.model.shape)
    for point in plan.points:
        sample_point(plan, point, out, batch_size, _callback(on_evaluations, point), devices)
    # One rank scores a point, since most of its scores are computed by one rank alone.
    alone = Extraction(Devices(devices.device), batch_size)

    def act() -> None:
        for point in share(plan, devices):
            _score(scoring, point, out, replace(alone, on_images=_callback(on_evaluations, point)))

    devices.each(act)
    results: list[Scored] = []
    devices.once(lambda: results.append(_collect(plan, scoring, out, alone)))
    return results[0] if results else None


@contextmanager
def alone(out: Path, devices: Devices) -> Iterator[None]:
    """Hold the lock of a sweep folder, which the ranks share; remove the folder if it is empty.

    Raises:
        InUse: another sweep writes the folder.
        OSError: it cannot be written.
    """
    with ExitStack() as held:
        devices.once(lambda: held.enter_context(locked(out)))
        try:
            yield
        finally:
            if devices.main:
                held.close()
                with suppress(OSError):
                    out.rmdir()


def share(plan: Plan[P], devices: Devices) -> list[P]:
    """Return this rank's share of the points."""
    return plan.points[devices.rank :: devices.world]


def evaluations(plan: Plan[P], scoring: Scoring, devices: Devices) -> int:
    """Return the network evaluations that this rank is told of.

    Those are one per step and image of all ranks, and one per scorer and image of its own points.
    """
    steps = sum(plan.job(point).evaluations for point in plan.points)
    return steps + plan.count * len(share(plan, devices)) * len(scoring.scorers)


def _callback(on: OnEvaluations | None, point: Named) -> Callable[[int], None] | None:
    return None if on is None else lambda amount: on(amount, point.name)


def _score(
    scoring: Scoring, point: Named, out: Path, extraction: Extraction
) -> tuple[list[Report], Score | None]:
    """Return a point's report by each scorer, and the judge's accuracy if there is a judge."""
    place = out / SAMPLES / point.name
    reports = [score_point(scorer, point, place, out, extraction) for scorer in scoring.scorers]
    if scoring.judge is None:
        return reports, None
    return reports, judge_accuracy(scoring.judge, point, place, out, scoring.labels)


def _collect(plan: Plan[P], scoring: Scoring, out: Path, extraction: Extraction) -> Scored:
    """Collect the scores from what all ranks have saved in the sweep folder."""
    scored = [_score(scoring, point, out, extraction) for point in plan.points]
    columns = list(zip(*(reports for reports, _ in scored), strict=True))
    networks = [
        NetworkScores(reports[0].features, [dict(report.scores) for report in reports])
        for reports in columns
    ]
    if scoring.judge is not None:
        shares = [{JUDGE_ACCURACY: share} for _, share in scored if share is not None]
        networks = _with_judge(networks, judge_name(scoring.judge), shares)
    return Scored(networks, _notes(plan.count, columns), scored[0][0])


def _with_judge(
    networks: list[NetworkScores], judge: str, shares: list[dict[str, Score]]
) -> list[NetworkScores]:
    """Add the judge's accuracy to the scores in the judge's own features, or as its own entry."""
    if all(each.network != judge for each in networks):
        return [*networks, NetworkScores(judge, shares)]
    return [
        NetworkScores(judge, [a | b for a, b in zip(each.scores, shares, strict=True)])
        if each.network == judge
        else each
        for each in networks
    ]


def _notes(count: int, columns: Sequence[Sequence[Report]]) -> list[str]:
    """Return a note on the number of samples, and the warnings that all points share."""
    own = (
        f"Each point has {count:,} samples. The Fréchet distance, recall and coverage depend "
        "on that number: compare only these points with each other."
    )
    common = [
        set.intersection(*(set(report.warnings) for report in reports)) for reports in columns
    ]
    return [own, *sorted({f"{text[:1].upper()}{text[1:]}." for one in common for text in one})]


def _manifest(sweep: AnySweep, reports: Sequence[Report]) -> dict[str, Any]:
    """Return the manifest that all points share; that of each point is in its report."""
    strongest = sweep.job(max(sweep.points, key=lambda p: abs(p.scale))).manifest()
    return {
        **{key: strongest[key] for key in ("model", "classifier", "weak") if key in strongest},
        "sampling": sweep.settings
        | {"sampler": sweep.samplers, "steps": sweep.steps, sweep.axis: sweep.scales},
        "count": sweep.count,
        "noise": "image i of every point: Philox, key (seed, i), counter (level)",
        "reference": {report.features: report.manifest["reference"] for report in reports},
        "features": [report.manifest["features"] for report in reports],
        "versions": versions(),
    }
