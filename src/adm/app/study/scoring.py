"""Samples of a point, Scoring -> Report by each network, Score of the judge, both cached."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.app.scoring import (
    Comparison,
    Extraction,
    Reference,
    Report,
    Score,
    cached_reference,
    check_sizes,
    complete_reference,
    evaluate,
    load_report,
    open_images,
)
from adm.app.scoring.evaluate import Resize
from adm.app.scoring.extraction import DEFAULT
from adm.app.scoring.manifest import omit_labels
from adm.app.scoring.report import StoredScore
from adm.app.study.kept import Kept
from adm.cached import Cached
from adm.data import Source
from adm.data.export import safe_names
from adm.data.naming import ARCHIVE
from adm.features import Features
from adm.generation.folder import images_of
from adm.generation.generator import identity
from adm.images import to_float
from adm.metrics.accuracy import accuracy
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel
from adm.spec import SettingError
from adm.store.hashes import sha256
from adm.store.parsed import through_json

POINTS, REFERENCES = "points", "references"  # in the folder of the study
BATCH = 250  # images that the judge classifies at a time


@dataclass(frozen=True, eq=False)
class Scorer:
    """Features, and the reference of the same features that samples are compared with.

    Attributes:
        resize: for a reference of another size than the samples; see `Comparison`.
    """

    features: Features
    reference: Reference
    resize: Resize | None = None


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
            raise SettingError("features", "at least one, each once", ", ".join(names))
        for scorer in self.scorers:
            size = scorer.reference.size
            check_sizes("the model", (shape[1], shape[2]), size, scorer.resize)
            scored = shape if size is None or scorer.resize != "to-reference" else (shape[0], *size)
            scorer.features.extract(_noise(scored))  # raises early, before any sampling
        if self.judge is not None:
            data = self.judge.recipe.data
            expected = (data.channels, *data.size)
            if expected != tuple(shape):
                raise SettingError(
                    "judge", f"of the images that the model makes, {tuple(shape)}", expected
                )


def reference_of_study(
    source: Source, features: Features, out: Path, extraction: Extraction = DEFAULT
) -> Reference:
    """`cached_reference` in the folder of the study, which takes the cache of features as well."""
    devices, folder = extraction.devices, out / REFERENCES
    work = folder / f"{safe_names([features.name])[0]}.work"
    found = cached_reference(source, features, folder, replace(extraction, work=work))
    # A barrier: on a network disk, removing a file that is mapped breaks its readers.
    devices.gather(None)
    devices.once(lambda: shutil.rmtree(work, ignore_errors=True))
    return found


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
    if report is None or not _is_of(report, scorer, opened.made, seed):
        report = evaluate(
            opened,
            scorer.reference,
            scorer.features,
            Comparison(seed=seed, resize=scorer.resize),
            extraction,
        )
        report.save(path)
    else:
        with extraction.bar(point, len(opened.source)) as advance:
            advance(Cached(len(opened.source)))
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
    of = {
        "samples": sha256(place / ARCHIVE),
        "judge": identity(judge)["sha256"],
        "labels": list(labels),
    }
    path = out / POINTS / f"{point}.named-by-{safe_names([judge.path.stem])[0]}.json"
    kept = Kept(path, of, StoredScore)
    known = kept.read()
    if known is None:
        device = next(judge.network.parameters()).device
        with torch.no_grad():
            logits = [
                judge.classify(to_float(part.to(device))).cpu()
                for part in images_of(place).split(BATCH)
            ]
        share = accuracy(torch.cat(logits), torch.tensor(list(labels)))
        kept.write(share._asdict())
        return share
    return known.score


def judge_name(judge: ClassifierModel) -> str:
    """Return the name of the judge's features."""
    return judge.path.stem if judge.path.parent == SHIPPED else judge.recipe.name


def _noise(shape: Sequence[int]) -> Tensor:
    """Return (2, C, H, W) uint8 noise, on which no network's features are constant."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, *shape), dtype=torch.uint8, generator=generator)


def _cached_report(path: Path) -> Report | None:
    """The report of an earlier call; None where there is none, or a damaged one."""
    try:
        return load_report(path)
    except ValueError:
        return None


def _is_of(report: Report, scorer: Scorer, made: dict[str, Any] | None, seed: int) -> bool:
    """Whether a report is of these samples, features, reference and options."""
    wanted = {
        "generated": {"made": omit_labels(made)},
        "features": {"name": scorer.features.name, "fingerprint": scorer.features.fingerprint},
        "reference": {key: scorer.reference.manifest.get(key) for key in ("file_sha256", "sha256")},
        "seed": seed,
        "resize": scorer.resize,
    }
    return _has(report.manifest, through_json(wanted))


def _has(had: Any, wanted: Any) -> bool:
    """Whether an object has entries with these values, in objects of objects too."""
    if not isinstance(wanted, dict) or not isinstance(had, dict):
        return had == wanted
    return all(_has(had.get(key), value) for key, value in wanted.items())
