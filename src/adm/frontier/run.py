"""Trial, Scoring -> Frontier: every point on few images, those near the frontier on all.

Each point's samples, timing and scores are saved as soon as they exist, so that the same call
resumes after an interruption. The ranks share the points.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from adm.evaluation import Score
from adm.evaluation.manifest import versions
from adm.frontier.choose import factor, kept
from adm.frontier.machine import REPEATS, machine_of, seconds_of
from adm.frontier.plan import Candidates
from adm.frontier.point import Point
from adm.frontier.stored import Distance, Frontier, Measured, network_of
from adm.frontier.trial import Trial
from adm.generation.generator import identity
from adm.shown import exactly
from adm.sweep.run import Scored

DISTANCE = "frechet"


class Estimate(NamedTuple):
    """Seconds that the first pass is likely to take, and the second."""

    first: float
    second: float


def estimate(trial: Trial, keep: int) -> Estimate:
    """Return how long both passes will take, from one block with guidance and one without.

    What is stored already is not subtracted, and scores are not included.

    Args:
        keep: points of each scale that are sampled in full.
    """
    plan, world = trial.plan, trial.devices.world
    speeds = {guided: _speed(plan, guided) for guided in {bool(p.scale) for p in plan.points}}

    def spent(points: Sequence[Point], images: float) -> float:
        each = [plan.job(p).generator.evaluations * speeds[bool(p.scale)] for p in points]
        return sum(each) * images

    first = spent(trial.timed, trial.block * REPEATS)
    first += spent([*plan.points, *trial.converged], trial.count) / world
    second = 0.0
    for points in by_scale(plan.points).values():
        share = min(1.0, keep / len(points))
        second += spent(points, plan.count * share) / world
    return Estimate(first, second)


def _speed(plan: Candidates, guided: bool) -> float:
    """Return the seconds of one evaluation for one image."""
    alike = [point for point in plan.points if bool(point.scale) == guided]
    job = plan.job(min(alike, key=lambda point: plan.job(point).evaluations))
    seconds_of(job)  # loads kernels
    return seconds_of(job) / job.generator.evaluations


def by_scale(points: Sequence[Point]) -> dict[float, list[Point]]:
    """Group points by their scale."""
    found: dict[float, list[Point]] = {}
    for point in points:
        found.setdefault(point.scale, []).append(point)
    return found


def chosen(measured: Sequence[Measured], keep: int) -> list[Point]:
    """Return the points that are sampled in full: those of each scale that `kept` returns."""
    found: list[Point] = []
    for points in by_scale([each.point for each in measured]).values():
        alike = [each for each in measured if each.point in points]
        found += [each.point for each in kept(alike, keep)]
    return found


def pruned(measured: Sequence[Measured], full: Sequence[Point]) -> list[str]:
    """Return a sentence for each scale on the points that are not sampled in full."""
    sentences = []
    for scale in by_scale([each.point for each in measured]):
        alike = [each for each in measured if each.point.scale == scale]
        left = [each for each in alike if each.point not in full]
        lead = (
            f"Scale {exactly(scale)}: {len(alike) - len(left)} of {len(alike)} points are sampled "
            "in full"
        )
        factors = [factor(each, alike) for each in left if each.error is not None]
        diverged = sum(each.diverged for each in left)
        parts = [lead]
        if factors:
            parts.append(
                f"{len(factors)} are left out, whose error is {min(factors):.2f} times or more the "
                "lowest of all that are as fast"
            )
        if diverged:
            parts.append(f"{diverged} gave NaN or infinity")
        sentences.append("; ".join(parts) + ".")
    return sentences


def collected(
    trial: Trial,
    measured: Sequence[Measured],
    full: Sequence[Point],
    scored: Scored,
    notes: Sequence[str],
) -> Frontier:
    """Return the frontier.

    Args:
        measured: all points, after the first pass.
        full: the points of `scored`, in its order.
        notes: on the measurements, added to those on the scores.
    """
    plan, guide = trial.plan, trial.plan.classifier
    place = {point: i for i, point in enumerate(full)}
    points = [
        replace(each, distances=_distances(scored, place[each.point]))
        if each.point in place
        else each
        for each in measured
    ]
    return Frontier(
        model=network_of(identity(plan.model)),
        classifier=None if guide is None else network_of(identity(guide)),
        machine=machine_of(trial.devices.device),
        versions=versions(),
        start=plan.base.grid.start,
        use_labels=plan.base.use_labels,
        seed=plan.base.seed,
        count=plan.count,
        trial_count=trial.count,
        features=tuple(network.network for network in scored.networks),
        points=tuple(points),
        notes=(*notes, *scored.notes),
    )


def _distances(scored: Scored, place: int) -> dict[str, Distance]:
    return {
        network.network: _distance(network.scores[place][DISTANCE]) for network in scored.networks
    }


def _distance(score: Score) -> Distance:
    low, high = (x if math.isfinite(x) else None for x in (score.low, score.high))
    return Distance(score.value, low, high)
