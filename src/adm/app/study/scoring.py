"""Samples of a point, Scoring -> Report by each network, Score of the judge, both cached."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.app.notices import notice
from adm.app.scoring import (
    Comparison,
    Extraction,
    Reference,
    Report,
    Score,
    check_sizes,
    complete_reference,
    evaluate,
    load_reference,
    load_report,
    make_reference,
    open_images,
)
from adm.app.scoring.extraction import DEFAULT, digest_of
from adm.app.scoring.manifest import omit_labels
from adm.app.scoring.report import StoredScore
from adm.cached import Cached
from adm.data import Source
from adm.data.export import safe_names
from adm.data.naming import ARCHIVE
from adm.features import Features
from adm.generation.folder import images_of
from adm.images import to_float
from adm.metrics.accuracy import accuracy
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel
from adm.store.files import write_json
from adm.store.hashes import sha256
from adm.store.parsed import as_type, cached_json

POINTS, REFERENCES = "points", "references"  # in the folder of the study
FILE_HASH = "file_sha256"  # of the reference, in the note beside it
BATCH = 250  # images that the judge classifies at a time


@dataclass(frozen=True, eq=False)
class Scorer:
    """Features, and the reference of the same features that samples are compared with.

    Attributes:
        resize: for a reference of another size than the samples; see `Comparison`.
    """

    features: Features
    reference: Reference
    resize: str | None = None


@dataclass(frozen=True, eq=False)
class Scoring:
    """How the samples of every point are scored.

    Attributes:
        scorers: at least one, each of other features.
        judge: a classifier of clean images, whose accuracy on the samples is measured; or None.
        labels: (count,) class that each sample was made for, as the judge numbers its classes.
    """

    scorers: Sequence[Scorer]
    judge: ClassifierModel | None = None
    labels: Sequence[int] = ()

    def check(self, shape: Sequence[int]) -> None:
        """Check that images of this shape can be scored, before any is sampled.

        A reference may have another number of channels, which most networks take alike.

        Args:
            shape: (C, H, W) of the samples.

        Raises:
            ValueError: no scorer, two whose results would share a file, a reference of another
                size without `resize`, or a network or a judge that does not support such images.
        """
        names = [scorer.features.name for scorer in self.scorers]
        if not names or len({safe_names([name])[0] for name in names}) < len(names):
            raise ValueError(
                f"scorers must be at least one, each of other features, got "
                f"{', '.join(names) or 'none'}"
            )
        for scorer in self.scorers:
            size = scorer.reference.size
            check_sizes("the model", (shape[1], shape[2]), size, scorer.resize)
            scored = shape if size is None or scorer.resize != "to-reference" else (shape[0], *size)
            scorer.features.extract(_noise(scored))  # raises early, before any sampling
        if self.judge is not None:
            _check_judge(self.judge, tuple(shape))


def cached_reference(
    source: Source, features: Features, out: Path, extraction: Extraction = DEFAULT
) -> Reference:
    """Compute the reference of a source of images once, and keep it in the folder of the study.

    Args:
        source: images of the shape of the samples.
        features: the extractor.
        out: the folder of the study, which takes the cache of features as well.
        extraction: ranks, batch size and progress.

    Raises:
        ValueError: images that the network does not support.
    """
    devices = extraction.devices
    place = out / REFERENCES
    stem = safe_names([features.name])[0]
    path, note = place / f"{stem}.npz", place / f"{stem}.json"
    key = {
        "data": source.name,
        "count": len(source),
        "shape": list(source.shape),
        "features": features.fingerprint,
    }
    had = devices.gather(_vouched(note, path))
    # Hashing all images detects changes, and is much faster than extracting features.
    if None in had or had != [key | {"sha256": digest_of(source, devices)}] * devices.world:
        work = place / f"{stem}.work"
        made = make_reference(source, features, replace(extraction, work=work))

        def save() -> None:
            made.save(path)
            vouched = {"sha256": made.manifest["sha256"], FILE_HASH: sha256(path)}
            write_json(note, key | vouched)
            shutil.rmtree(work, ignore_errors=True)

        # A barrier: on a network disk, removing a file that is mapped breaks its readers.
        devices.gather(None)
        devices.once(save)
    return load_reference(path, features)


def _vouched(note: Path, path: Path) -> dict[str, Any] | None:
    """Return what a note says of the reference beside it; None without it, or if it was damaged."""
    had = cached_json(note) if path.is_file() else None
    if had is None or FILE_HASH not in had:
        return None
    if had.pop(FILE_HASH) != sha256(path):
        notice(f"{path} is damaged; it is made again")
        return None
    return had


def cached_completion(
    reference: Reference, features: Features, out: Path, extraction: Extraction = DEFAULT
) -> Reference:
    """`complete_reference`, whose features are cached in the folder of the study."""
    work = out / REFERENCES / f"{safe_names([features.name])[0]}.seen"
    return complete_reference(reference, features, replace(extraction, work=work))


def score_point(
    scorer: Scorer,
    point: str,
    place: Path,
    out: Path,
    extraction: Extraction,
    *,
    seed: int = 0,
) -> Report:
    """Score the samples of a point, unless the folder of the study has the report already.

    Args:
        point: its name.
        place: its sample folder.
        out: the folder of the study.
        extraction: of one rank, since the ranks share the points to score.
        seed: of the resampling.

    Raises:
        ValueError: samples that cannot be scored.
    """
    path = out / POINTS / f"{point}.{safe_names([scorer.features.name])[0]}.json"
    opened = open_images(str(place))
    report = _cached_report(path)
    if report is None or _origin(report) != _expected_origin(scorer, opened.made, seed):
        report = evaluate(
            opened,
            scorer.reference,
            scorer.features,
            Comparison(seed=seed, resize=scorer.resize),
            extraction,
        )
        report.save(path)
    else:
        extraction.done(Cached(len(opened.source)))
    return report


def judge_accuracy(
    judge: ClassifierModel, point: str, place: Path, out: Path, labels: Sequence[int]
) -> Score:
    """Return the fraction of samples that a classifier assigns to the class they were made for.

    Args:
        judge: a classifier of clean images.
        point: the name of the samples.
        place: their sample folder.
        out: the folder of the study, which keeps the result.
        labels: (count,) of the samples, as the judge numbers its classes.
    """
    path = out / POINTS / f"{point}.named-by-{safe_names([judge.path.stem])[0]}.json"
    key = {
        "samples": sha256(place / ARCHIVE),
        "judge": sha256(judge.path),
        "labels": list(labels),
    }
    had = cached_json(path)
    known = None if had is None or had.get("of") != key else _known(had.get("named"))
    if known is None:
        device = next(judge.network.parameters()).device
        with torch.no_grad():
            logits = [
                judge.classify(to_float(part.to(device))).cpu()
                for part in images_of(place).split(BATCH)
            ]
        share = accuracy(torch.cat(logits), torch.tensor(key["labels"]))
        write_json(path, {"of": key, "named": share._asdict()})
        known = Score(**share._asdict())
    return known


def _known(named: Any) -> Score | None:
    """Return the accuracy that an earlier call has stored; None if it is damaged."""
    try:
        return as_type(StoredScore, named).score
    except ValueError:
        return None


def judge_name(judge: ClassifierModel) -> str:
    """Return the name of the judge's features."""
    return judge.path.stem if judge.path.parent == SHIPPED else judge.recipe.name


def _noise(shape: Sequence[int]) -> Tensor:
    """Return (2, C, H, W) uint8 noise, on which no network's features are constant."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, *shape), dtype=torch.uint8, generator=generator)


def _check_judge(judge: ClassifierModel, shape: tuple[int, ...]) -> None:
    data = judge.recipe.data
    expected = (data.channels, *data.size)
    if expected != shape:
        raise ValueError(
            f"the judge {judge_name(judge)} classifies images of (C, H, W) = {expected} and the "
            f"model makes {shape}; give a judge of such images, or none"
        )


def _cached_report(path: Path) -> Report | None:
    """The report of an earlier call; None where there is none, or a damaged one."""
    try:
        return load_report(path)
    except ValueError:
        return None


def _origin(report: Report) -> Any:
    """Return samples, features, reference and options of a report; None if it lacks one."""
    manifest = report.manifest
    try:
        return (
            manifest["generated"]["made"],
            manifest["features"],
            manifest["reference"].get("file_sha256"),
            manifest["seed"],
            manifest.get("resize"),
        )
    except (KeyError, TypeError, AttributeError):
        return None


def _expected_origin(scorer: Scorer, made: dict[str, Any] | None, seed: int) -> Any:
    features = {"name": scorer.features.name, "fingerprint": scorer.features.fingerprint}
    file = scorer.reference.manifest["file_sha256"]
    return omit_labels(made), features, file, seed, scorer.resize
