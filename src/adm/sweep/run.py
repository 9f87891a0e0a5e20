"""a sweep, references, a judge -> all points sampled and scored, by one process or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.data.export import safe_names
from adm.evaluation import Extraction, Report, Score
from adm.evaluation.manifest import versions
from adm.models.load import SHIPPED
from adm.models.trained import ClassifierModel
from adm.processes import Devices
from adm.samplers.words import to_json
from adm.sweep.plan import SAMPLES, Point, Sweep, sampled
from adm.sweep.scoring import By, named, scored
from adm.sweep.summary import NAMED, Measured, Outcome

OnPart = Callable[[int, str], None]


@dataclass(frozen=True, eq=False)
class Judging:
    """By what the samples are scored.

    Attributes:
        by: networks, each with what it sees in real images.
        judge: a classifier of clean images that names the samples, or None.
        labels: of the samples, as the judge numbers its classes.
    """

    by: Sequence[By]
    judge: ClassifierModel | None = None
    labels: Sequence[int] = ()

    def check(self, shape: Sequence[int]) -> None:
        """Raise ValueError where two networks would share a file, or cannot see (C, H, W) images.

        References may be of other channels, which most networks see alike.
        """
        names = [each.features.name for each in self.by]
        if not names or len({safe_names([name])[0] for name in names}) < len(names):
            raise ValueError(f"give features, each once, got {', '.join(names) or 'none'}")
        size = tuple(shape[1:])
        for each in self.by:
            if each.reference.size not in (None, size):
                raise ValueError(
                    f"{each.reference.name} has images of {each.reference.size} (H, W) and the "
                    f"model makes {size}; make a reference of that size"
                )
            each.features.extract(_noise(shape))  # raises, before hours of sampling
        if self.judge is not None:
            _check_judge(self.judge, tuple(shape))


def _noise(shape: Sequence[int]) -> Tensor:
    """(2, C, H, W) uint8, of which no network's features are constant."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, *shape), dtype=torch.uint8, generator=generator)


def run(
    sweep: Sweep,
    judging: Judging,
    out: Path,
    *,
    devices: Devices,
    batch_size: int = 64,
    on_evaluations: OnPart | None = None,
) -> Outcome | None:
    """Sample and score every point, each process its share of them.

    Args:
        out: the sweep's folder; what lies there from an earlier call is not made again.
        on_evaluations: is told how many images went through a network once, and of which point.

    Returns:
        for the main process, all scores; None for the others.

    Raises:
        ValueError: samples or reports of another sweep are there, or images cannot be scored.
    """
    judging.check(sweep.model.shape)
    # Points are shared, and not the images of one.
    alone = Extraction(Devices(devices.device), batch_size)

    def act() -> None:
        noted = {point: _noted(on_evaluations, point) for point in share(sweep, devices)}
        for point, on_images in noted.items():
            sampled(sweep, point, out, batch_size, on_images)
        for point, on_images in noted.items():
            _reports(judging, point, out, replace(alone, on_images=on_images))

    devices.each(act)
    found: list[Outcome] = []
    devices.once(lambda: found.append(_outcome(sweep, judging, out, alone)))
    return found[0] if found else None


def share(sweep: Sweep, devices: Devices) -> list[Point]:
    """The points that a process samples and scores."""
    return sweep.points[devices.rank :: devices.world]


def evaluations(sweep: Sweep, judging: Judging, devices: Devices) -> int:
    """Of networks by this process: an image takes one a step, and one for each of the features."""
    mine = share(sweep, devices)
    return sum(sweep.job(p).evaluations for p in mine) + sweep.count * len(mine) * len(judging.by)


def _check_judge(judge: ClassifierModel, shape: tuple[int, ...]) -> None:
    data = judge.recipe.data
    sees = (data.channels, *data.size)
    if sees != shape:
        raise ValueError(
            f"the judge {name_of(judge)} sees images of (C, H, W) = {sees} and the model makes "
            f"{shape}; give a judge of such images, or none"
        )


def _noted(on: OnPart | None, point: Point) -> Callable[[int], None] | None:
    return None if on is None else lambda amount: on(amount, point.name)


def _reports(
    judging: Judging, point: Point, out: Path, extraction: Extraction
) -> tuple[list[Report], Score | None]:
    """A point's reports, and the share that the judge names as meant."""
    place = out / SAMPLES / point.name
    reports = [scored(by, point, place, out, extraction) for by in judging.by]
    if judging.judge is None:
        return reports, None
    return reports, named(judging.judge, point, place, out, list(judging.labels))


def _outcome(sweep: Sweep, judging: Judging, out: Path, extraction: Extraction) -> Outcome:
    """What all processes have left in the folder."""
    found = [_reports(judging, point, out, extraction) for point in sweep.points]
    columns = zip(*(reports for reports, _ in found), strict=True)
    measured = [
        Measured(reports[0].features, [dict(report.scores) for report in reports])
        for reports in columns
    ]
    if judging.judge is not None:
        shares = [{NAMED: share} for _, share in found if share is not None]
        measured = _with_named(measured, name_of(judging.judge), shares)
    manifest = _manifest(sweep, found[0][0])
    return Outcome(sweep, measured, _notes(sweep, [reports for reports, _ in found]), manifest)


def name_of(judge: ClassifierModel) -> str:
    """As features call it."""
    return judge.path.stem if judge.path.parent == SHIPPED else judge.recipe.name


def _with_named(
    measured: list[Measured], by: str, shares: list[dict[str, Score]]
) -> list[Measured]:
    """The judge's shares beside the scores in its own features, if there are any."""
    if all(each.by != by for each in measured):
        return [*measured, Measured(by, shares)]
    return [
        Measured(by, [a | b for a, b in zip(each.scores, shares, strict=True)])
        if each.by == by
        else each
        for each in measured
    ]


def _notes(sweep: Sweep, reports: Sequence[Sequence[Report]]) -> list[str]:
    """What a reader should know, and what every point's report warns of."""
    own = (
        f"Each point has {sweep.count:,} samples. The Fréchet distance, recall and coverage depend "
        "on that number: compare them within this sweep."
    )
    common = [
        set.intersection(*(set(each.warnings) for each in one))
        for one in zip(*reports, strict=True)
    ]
    return [own, *sorted({f"{text[:1].upper()}{text[1:]}." for one in common for text in one})]


def _manifest(sweep: Sweep, reports: Sequence[Report]) -> dict[str, Any]:
    """What every number follows from; each point's own is in its report."""
    first = sweep.job(sweep.points[0]).manifest()
    return {
        "model": first["model"],
        "classifier": sweep.job(max(sweep.points, key=lambda p: abs(p.scale))).manifest()[
            "classifier"
        ],
        "sampling": to_json(sweep.base)
        | {"sampler": sweep.samplers, "steps": sweep.steps, "scale": sweep.scales},
        "count": sweep.count,
        "noise": "image i of every point: Philox, key (seed, i), counter (level)",
        "reference": {report.features: report.manifest["reference"] for report in reports},
        "features": [report.manifest["features"] for report in reports],
        "versions": versions(),
    }
