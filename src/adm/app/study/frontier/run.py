"""Trial, Scoring -> Frontier: every point on few images, those near the frontier on all.

Each point's samples, timing and scores are saved as soon as they exist, so that the same call
resumes after an interruption. The ranks share the work, but for the timing.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

from adm.app.notices import notice
from adm.app.scoring import Score
from adm.app.scoring.manifest import versions
from adm.app.study.frontier.choose import factor, kept
from adm.app.study.frontier.machine import REPEATS, load_note, machine_of, seconds_of
from adm.app.study.frontier.plan import Candidates
from adm.app.study.frontier.point import Point
from adm.app.study.frontier.stored import Distance, Frontier, Measured, Shared, network_of
from adm.app.study.frontier.trial import Trial
from adm.app.study.run import OnEvaluations, Scored, evaluations, score_points
from adm.app.study.scoring import Scoring
from adm.generation.generator import identity
from adm.shown import exactly

DISTANCE = "frechet"


Bar = Callable[[str, float], AbstractContextManager[OnEvaluations | None]]


class Estimate(NamedTuple):
    """Seconds that the first pass is likely to take, and the second."""

    first: float
    second: float

    def sentence(self, trial: Trial, keep: int) -> str:
        """Say what the passes consist of, and how long they take."""
        plan = trial.plan
        scales = len(by_scale(plan.points))
        return (
            f"{len(plan.points)} points: about {minutes(self.first)} for a first pass of "
            f"{trial.count} images each, then about {minutes(self.second)} for {plan.count:,} "
            f"images of {keep} points{' of each scale' if scales > 1 else ''}, and their scores"
        )


def minutes(seconds: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


# Six parameters: the plan, how it is scored, and what the command line decides.
def run(
    trial: Trial,
    scoring: Scoring,
    *,
    keep: int,
    shared: Shared,
    batch_size: int,
    bar: Bar,
) -> Frontier | None:
    """Measure all points on few images, and those near the frontier on all.

    Args:
        scoring: how images are scored; the first features decide what is best.
        keep: points of each scale that are sampled in full, unless its frontier has more.
        shared: the settings that the user has given for all points.
        batch_size: images per call of a network of features, and sampled between two saves.
        bar: title, network evaluations -> context whose value is called as they are done.

    Returns:
        The frontier on the main rank; None on the others.

    Raises:
        ValueError: the folder holds samples of other settings, or images that cannot be scored.
    """
    plan, out, devices = trial.plan, trial.out, trial.devices
    scoring.check(plan.model.shape)
    load = devices.gather(load_note() if devices.main and trial.untimed else None)[0]
    expected = devices.gather(estimate(trial, keep) if devices.main else None)[0]
    if devices.main:
        notice(expected.sentence(trial, keep))
    with bar("first pass", trial.evaluations) as on:
        measured = trial.run(on)
    full = chosen(measured, keep)
    notes = pruned(measured, full)
    if devices.main:
        for note in notes:
            notice(note)
    second = plan.of(full)
    with bar("sampling and scoring", evaluations(second, scoring, devices)) as on:
        scored = score_points(
            second, scoring, out, devices=devices, batch_size=batch_size, on_evaluations=on
        )
    if scored is None:
        return None
    return collected(trial, measured, full, scored, shared, [load] if load else [])


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


# Six parameters: what both passes found, and what is said of it.
def collected(
    trial: Trial,
    measured: Sequence[Measured],
    full: Sequence[Point],
    scored: Scored,
    shared: Shared,
    notes: Sequence[str],
) -> Frontier:
    """Return the frontier.

    Args:
        measured: all points, after the first pass.
        full: the points of `scored`, in its order.
        shared: the settings that the user has given for all points.
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
        shared=shared,
        seed=plan.base.seed,
        count=plan.count,
        trial_count=trial.count,
        features=tuple(network.network for network in scored.networks),
        points=tuple(points),
        auto_precision=plan.auto_precision,
        notes=(*notes, *scored.notes),
    )


def _distances(scored: Scored, place: int) -> dict[str, Distance]:
    return {
        network.network: _distance(network.scores[place][DISTANCE]) for network in scored.networks
    }


def _distance(score: Score) -> Distance:
    low, high = (x if math.isfinite(x) else None for x in (score.low, score.high))
    return Distance(score.value, low, high)
