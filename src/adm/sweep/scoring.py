"""samples of a point, references, a judge -> its scores, each kept as soon as it is known."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from adm.data import Source
from adm.data.export import ARCHIVE, safe_names
from adm.evaluation import (
    Extraction,
    Reference,
    Report,
    Score,
    evaluate,
    load_reference,
    load_report,
    make_reference,
    open_images,
)
from adm.evaluation.manifest import described
from adm.evaluation.statistics import DEFAULT, digest_of
from adm.features import Features
from adm.files import cached_json, sha256, write_json
from adm.images import to_float
from adm.metrics.accuracy import accuracy
from adm.models.trained import ClassifierModel
from adm.sweep.plan import Point, images_of

POINTS, REFERENCES = "points", "references"  # folders of a sweep
BATCH = 250  # images that a judge sees at a time


@dataclass(frozen=True, eq=False)
class By:
    """What a point is scored by: a network, and what it sees in real images."""

    features: Features
    reference: Reference


def kept_reference(
    source: Source, features: Features, out: Path, extraction: Extraction = DEFAULT
) -> Reference:
    """The reference of some data, made once and kept in the sweep's folder.

    Args:
        source: images of the samples' shape.
        features: what looks at them.
        out: the sweep's folder.
        extraction: in which processes, and how; what is done is kept in the sweep's folder.

    Raises:
        ValueError: features that cannot see the images.
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
    had = devices.gather(cached_json(note) if path.exists() else None)
    # All images are read to see that they are the same, which is faster than to extract features.
    if None in had or had != [key | {"sha256": digest_of(source, devices)}] * devices.world:
        work = place / f"{stem}.work"
        made = make_reference(source, features, replace(extraction, work=work))

        def keep() -> None:
            made.save(path)
            write_json(note, key | {"sha256": made.manifest["sha256"]})
            shutil.rmtree(work, ignore_errors=True)

        # So that none still reads what is removed: on another machine no map outlasts its file.
        devices.gather(None)
        devices.once(keep)
    return load_reference(path, features)


def scored(
    by: By,
    point: Point,
    place: Path,
    out: Path,
    extraction: Extraction,
    *,
    seed: int = 0,
) -> Report:
    """One point's report by one network, from the sweep's folder where it is there.

    Args:
        place: the folder with the point's samples.
        extraction: by this process alone, and how.
        seed: of the resampling.

    Raises:
        ValueError: samples that cannot be scored.
    """
    path = out / POINTS / f"{point.name}.{safe_names([by.features.name])[0]}.json"
    source, made = open_images(str(place))
    had = _kept(path)
    if had is None or _origin(had) != _origin_of(by, made, seed):
        had = evaluate(source, by.reference, by.features, extraction, made=made, seed=seed)
        had.save(path)
    else:
        extraction.done(len(source))
    return had


def named(judge: ClassifierModel, point: Point, place: Path, out: Path, labels: list[int]) -> Score:
    """The share of a point's samples that a classifier names as they were meant.

    Args:
        judge: of clean images.
        labels: of the samples, as the judge numbers its classes.
    """
    path = out / POINTS / f"{point.name}.named-by-{safe_names([judge.path.stem])[0]}.json"
    key = {
        "samples": sha256(place / ARCHIVE),
        "judge": sha256(judge.path),
        "labels": labels,
    }
    had = cached_json(path)
    if had is None or had.get("of") != key:
        device = next(judge.network.parameters()).device
        with torch.no_grad():
            logits = [
                judge.classify(to_float(part.to(device))).cpu()
                for part in images_of(place).split(BATCH)
            ]
        had = {"of": key, "named": accuracy(torch.cat(logits), torch.tensor(labels))._asdict()}
        write_json(path, had)
    return Score(**had["named"])


def _kept(path: Path) -> Report | None:
    """A report that an earlier call left; None where there is no whole one."""
    try:
        return load_report(path)
    except ValueError:
        return None


def _origin(report: Report) -> Any:
    """What a report says that it follows from; None where it does not say."""
    told = report.manifest
    try:
        return (
            told["generated"]["made"],
            told["features"],
            told["reference"].get("file_sha256"),
            told["seed"],
        )
    except (KeyError, TypeError, AttributeError):
        return None


def _origin_of(by: By, made: dict[str, Any] | None, seed: int) -> Any:
    features = {"name": by.features.name, "fingerprint": by.features.fingerprint}
    return described(made), features, by.reference.manifest["file_sha256"], seed
