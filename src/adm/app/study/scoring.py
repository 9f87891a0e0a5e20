"""Samples of a point, Scoring -> Report by each network, Score of the judge, both cached."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.app.study.study import POINTS, CacheFile, Study
from adm.data import Source
from adm.features import Features, open_features, recorded_features
from adm.generation.cascade import translate
from adm.generation.folder import images_of
from adm.generation.generator import identity
from adm.generation.pngs import safe_names
from adm.images import to_float
from adm.metrics.accuracy import accuracy
from adm.models.load import load_classifier
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.processes import Devices
from adm.scoring import (
    Comparison,
    Extraction,
    Reference,
    Report,
    Score,
    cached_reference,
    check_sizes,
    complete_reference,
    evaluate,
    is_reference,
    load_reference,
    load_report,
    open_images,
)
from adm.scoring.evaluate import Resize
from adm.scoring.extraction import DEFAULT
from adm.scoring.manifest import omit_labels
from adm.scoring.report import StoredScore
from adm.shown import short
from adm.spec import SettingError, literal
from adm.store.hashes import sha256
from adm.store.parsed import through_json
from adm.store.samples import ARCHIVE
from adm.store.work import holding

REFERENCES = "references"  # in the folder of the study
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
        labels: (count,) class of each sample, as the judge numbers its classes.
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
        if len({safe_names([name])[0] for name in names}) < len(names):
            raise SettingError(
                "features", f"give each of {{}} once, got {literal(', '.join(names))}"
            )
        for scorer in self.scorers:
            size = scorer.reference.size
            check_sizes("the model", (shape[1], shape[2]), size, scorer.resize)
            scored = shape if size is None or scorer.resize != "to-reference" else (shape[0], *size)
            scorer.features.extract(_noise(scored))  # raises early, before any sampling
        if self.judge is not None:
            data = self.judge.recipe.data
            expected = (data.channels, *data.size)
            if expected != tuple(shape):
                theirs, ours = ("x".join(map(str, each)) for each in (expected, shape))
                raise SettingError(
                    "judge",
                    f"{{}} classifies images of {theirs} (channels, height, width), and the model "
                    f"makes {ours}; give a classifier of such images",
                )


@dataclass(frozen=True)
class Against:
    """What the samples of a study are scored against, as a user names it.

    Attributes:
        reference: files of `adm reference`, one for each of the features; or one data set.
        features: features specs; by default those of the files, or those installed.
        split: of the data set.
        resize: for a reference of another size than the samples; see `Comparison`.
        judge: a classifier of clean images whose accuracy on the samples is reported as well.
    """

    reference: Sequence[str]
    features: Sequence[str] | None = None
    split: str = "train"
    resize: Resize | None = None
    judge: str | None = None


@contextmanager
def scoring_of(
    study: Study, against: Against, out: Path, extraction: Extraction
) -> Iterator[Scoring]:
    """Lock the folder of a study, and open what its samples are scored with.

    Raises:
        InUse: another process writes the folder.
        ValueError: references, features or a judge that cannot be used together.
    """
    judge = load_classifier(against.judge, extraction.devices.device) if against.judge else None
    labels = [] if judge is None else _judge_labels(judge, study)
    with locked_study(out, extraction.devices):
        scorers = _scorers(against, study.model.model, out, extraction)
        yield Scoring([replace(each, resize=against.resize) for each in scorers], judge, labels)


@contextmanager
def locked_study(out: Path, devices: Devices) -> Iterator[None]:
    """Hold the lock of a folder, which the ranks share; remove the folder if it is empty.

    Raises:
        InUse: another process writes the folder.
        OSError: it cannot be written.
    """
    try:
        with holding(out, devices):
            yield
    finally:
        if devices.main:
            with suppress(OSError):  # it has files, or does not exist
                out.rmdir()


def _scorers(
    against: Against, model: DiffusionModel, out: Path, extraction: Extraction
) -> list[Scorer]:
    """Return features, each with its reference, read from a file or computed from data.

    Args:
        model: whose samples are scored.
        out: the folder of the study, which caches references.
    """
    specs, requested = against.reference, against.features
    files = [spec for spec in specs if is_reference(spec)]
    if len(files) != len(specs) and len(specs) != 1:
        raise ValueError(
            f"references are {', '.join(specs)}; give one data set, or a file of adm reference for "
            "each of the features"
        )
    opened, device = [load_reference(file) for file in files], extraction.devices.device
    if requested or not files:
        networks = [open_features(name, device) for name in requested or [None]]
    else:
        networks = [recorded_features(each.features, each.name, device) for each in opened]
    if not files:
        channels, *size = model.shape
        how = {"split": against.split, "channels": channels, "stored": model.range}
        source = open_images(specs[0], size=(size[0], size[1]), **how).source
        return [
            Scorer(each, reference_of_study(source, each, out, extraction)) for each in networks
        ]
    if len(networks) != len(files):
        raise ValueError(
            f"got {len(networks)} features and {len(files)} references; give one reference for each"
        )
    scorers = list[Scorer]()
    for features, reference in zip(networks, opened, strict=True):
        work = out / REFERENCES / f"{safe_names([features.name])[0]}.seen"
        resumed = replace(extraction, work=work)
        scorers.append(Scorer(features, complete_reference(reference, features, resumed)))
    return scorers


def _judge_labels(judge: ClassifierModel, study: Study) -> list[int]:
    """Return the labels of the samples in the numbering of the judge's classes."""
    if study.labels is None:
        raise SettingError("judge", "the model has no classes to judge; leave out {}")
    named = translate(study.labels, study.model.classes, judge.classes)
    if named is None:
        some = literal(short(", ".join(study.model.classes)))
        raise SettingError("judge", f"{{}} lacks classes of the samples; give one of {some}")
    return named


def reference_of_study(
    source: Source, features: Features, out: Path, extraction: Extraction = DEFAULT
) -> Reference:
    """`cached_reference` in the folder of the study, which caches the features as well."""
    devices, folder = extraction.devices, out / REFERENCES
    work = folder / f"{safe_names([features.name])[0]}.work"
    reference = cached_reference(source, features, folder, replace(extraction, work=work))
    # A barrier: on a network disk, removing a file that is mapped breaks its readers.
    devices.gather(None)
    devices.once(lambda: shutil.rmtree(work, ignore_errors=True))
    return reference


def score_point(
    scorer: Scorer, point: str, place: Path, out: Path, extraction: Extraction
) -> Report:
    """Score the samples of a point, unless the folder of the study has the report already.

    Args:
        point: its name.
        place: its sample folder.
        out: the folder of the study.
        extraction: of one rank, since the ranks share the points to score.

    Raises:
        ValueError: samples that cannot be scored.
    """
    path = out / POINTS / f"{point}.{safe_names([scorer.features.name])[0]}.json"
    opened = open_images(str(place))
    report, how = None, Comparison(resize=scorer.resize)
    with suppress(ValueError):  # there is none, or a damaged one
        report = load_report(path)
    if report is None or not _is_of(report, scorer, opened.manifest, how):
        report = evaluate(opened, scorer.reference, scorer.features, how, extraction)
        report.save(path)
    return report


def judge_accuracy(
    judge: ClassifierModel, point: str, place: Path, out: Path, labels: Sequence[int]
) -> Score:
    """Return the fraction of samples that a classifier assigns to the class they were sampled for.

    Args:
        judge: a classifier of clean images.
        point: the name of the samples.
        place: their sample folder.
        out: the folder of the study, which caches the score.
        labels: (count,) of the samples, as the judge numbers its classes.
    """
    inputs = {
        "samples": sha256(place / ARCHIVE),
        "judge": identity(judge)["sha256"],
        "labels": list(labels),
    }
    path = out / POINTS / f"{point}.named-by-{safe_names([judge.path.stem])[0]}.json"
    cache = CacheFile(path, inputs, StoredScore)
    stored = cache.read()
    if stored is None:
        device = next(judge.network.parameters()).device
        with torch.no_grad():
            logits = [
                judge.classify(to_float(part.to(device))).cpu()
                for part in images_of(place).split(BATCH)
            ]
        share = accuracy(torch.cat(logits), torch.tensor(list(labels)))
        cache.write(share._asdict())
        return share
    return stored.score


def judge_name(judge: ClassifierModel) -> str:
    """Return the name of the judge's features."""
    return judge.path.stem if judge.path.parent == SHIPPED else judge.recipe.name


def _noise(shape: Sequence[int]) -> Tensor:
    """Return (2, C, H, W) uint8 noise, on which no network's features are constant."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, *shape), dtype=torch.uint8, generator=generator)


def _is_of(
    report: Report, scorer: Scorer, manifest: dict[str, Any] | None, how: Comparison
) -> bool:
    """Whether a report is of these samples, features, reference and options."""
    expected = {
        "generated": {"made": omit_labels(manifest)},
        "features": {"name": scorer.features.name, "fingerprint": scorer.features.fingerprint},
        "reference": {key: scorer.reference.manifest.get(key) for key in ("file_sha256", "sha256")},
        "seed": how.seed,
        "resize": how.resize,
    }
    return _has(report.manifest, through_json(expected))


def _has(document: Any, expected: Any) -> bool:
    """Whether a JSON value has the expected entries, at every depth."""
    if not isinstance(expected, dict) or not isinstance(document, dict):
        return document == expected
    return all(_has(document.get(key), value) for key, value in expected.items())
