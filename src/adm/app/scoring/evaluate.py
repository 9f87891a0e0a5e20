"""Source, Reference, Features, Extraction -> Report."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from adm.app.scoring.classes import class_scores
from adm.app.scoring.manifest import described, label_counts, versions
from adm.app.scoring.opening import resized
from adm.app.scoring.reference import Reference, check_features
from adm.app.scoring.report import Report
from adm.app.scoring.scores import USUAL, Score, scores, title
from adm.app.scoring.statistics import DEFAULT, Extraction, FeatureSet, extract
from adm.data import Source
from adm.features import Features
from adm.metrics.bootstrap import RESAMPLES
from adm.metrics.manifold import DENSITY_NEIGHBOURS
from adm.processes import Devices

RESIZE = ("to-reference", "none")
USUAL_COUNT = 50_000  # samples in published scores
SHARES_DIFFER = 0.05  # least difference of the fractions of a class for a warning


# More than six parameters: the keyword-only ones are independent and have defaults.
def evaluate(
    source: Source,
    reference: Reference,
    features: Features,
    extraction: Extraction = DEFAULT,
    *,
    resize: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    only: Sequence[str] = USUAL,
    made: dict[str, Any] | None = None,
) -> Report:
    """Score images against a reference.

    Args:
        source: at least 2 images of one size.
        reference: a reference of the same features.
        features: the extractor.
        extraction: ranks, batch size, cache folder and progress.
        resize: for images of another size than those of the reference: `"to-reference"` resizes
            them, `"none"` leaves them to the preprocessing of the features.
        resamples, seed, only: see `scores`.
        made: the sampling manifest, for the report.

    Returns:
        The report, equal on every rank.

    Raises:
        ValueError: the reference is of other features, the images are of another size and `resize`
            is None, or an error of `extract`.
    """
    check_features(reference, features)
    source = at_size(source, reference.size, resize)
    generated = extract(source, features, extraction)
    return report_on(
        generated,
        reference,
        devices=extraction.devices,
        resamples=resamples,
        seed=seed,
        only=only,
        made=made,
        resize=resize,
    )


# More than six parameters: the keyword-only ones are independent and have defaults.
def report_on(
    generated: FeatureSet,
    reference: Reference,
    *,
    devices: Devices | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    only: Sequence[str] = USUAL,
    made: dict[str, Any] | None = None,
    resize: str | None = None,
) -> Report:
    """Score extracted features; the main rank computes, and every rank returns the report.

    Args:
        devices: the ranks, all of which must call; by default a single one on the CPU.

    Raises:
        ValueError: the reference is of other features.
    """
    devices = devices or Devices(torch.device("cpu"))
    reports: list[Report] = []

    def act() -> None:
        # Exact comparisons of distances need float64, which MPS does not support.
        device = str(devices.device) if devices.device.type == "cuda" else "cpu"
        found = scores(
            generated, reference, only=only, resamples=resamples, seed=seed, device=device
        )
        manifest = _manifest(generated, reference, made, resize)
        manifest |= {"resamples": resamples, "seed": seed}
        classes = class_scores(generated, reference, device)
        warnings = _of_bias(generated, found) + _of_comparison(generated, reference, resize)
        reports.append(Report(generated.name, found, manifest, classes, tuple(warnings)))

    devices.once(act)
    return devices.gather(reports[0] if reports else None)[0]


def at_size(source: Source, size: tuple[int, int] | None, resize: str | None) -> Source:
    """Return the images, resized to the size of the reference if `resize` says so.

    Args:
        size: (H, W) of the images of the reference, or None if it has none.
        resize: see `evaluate`.

    Raises:
        ValueError: the images are of another size and `resize` is None, or `resize` is unknown.
    """
    if len(source) < 1:
        raise ValueError(
            f"{source.name} has no images, and scores need at least 2; give more images"
        )
    own = source.shape[1:]
    check_size(source.name, own, size, resize)
    if size is None or own == size or resize == "none":
        return source
    return resized(source, size)


def check_size(
    name: str, own: tuple[int, int], size: tuple[int, int] | None, resize: str | None
) -> None:
    """Raise the ValueError of `at_size` for images of a size that may not exist yet.

    Args:
        name: of the images.
        own: their (H, W).
        size, resize: see `at_size`.
    """
    if resize not in (None, *RESIZE):
        raise ValueError(f"resize must be {' or '.join(RESIZE)}, got {resize!r}")
    if resize is None and size not in (None, own):
        raise ValueError(
            f"{name} has images of {own[0]}x{own[1]} and the reference of "
            f'{size[0]}x{size[1]}; set resize="to-reference" to resize them, or resize="none" to '
            "leave both to the preprocessing of the features, or give a reference of that size"
        )


def _manifest(
    generated: FeatureSet, reference: Reference, made: dict[str, Any] | None, resize: str | None
) -> dict[str, Any]:
    return {
        "generated": {
            "source": generated.source,
            "count": generated.count,
            "size": list(generated.size),
            "channels": generated.channels,
            "sha256": generated.digest,
            "labels": label_counts(generated.labels, generated.classes),
            "made": described(made),
            "statistics": "of the images" if generated.stored is None else "as stored in the file",
        },
        "reference": {
            **reference.manifest,
            "count": reference.count,
            "images": None if reference.images is None else len(reference.images),
        },
        "features": {"name": generated.name, "fingerprint": generated.fingerprint},
        "resize": resize,
        "versions": versions(),
    }


def _of_bias(generated: FeatureSet, found: Mapping[str, Score]) -> list[str]:
    """Warn of a distance of fewer images than usual, with an estimate without its bias."""
    count, dim = generated.count, generated.pool.shape[1]
    if count >= USUAL_COUNT or generated.stored is not None:
        return []
    fewer = f", no more than the {dim:,} features," if count <= dim else ""
    warning = (
        f"{title('frechet', generated.name)} of {count:,} images{fewer} is biased upwards; compare "
        f"it only with values of {count:,} images (published ones are of {USUAL_COUNT:,})"
    )
    if "frechet_at_infinity" not in found or count <= dim:
        return [warning]
    estimate = max(0.0, found["frechet_at_infinity"].value)
    return [f"{warning}. Extrapolated to infinitely many images it is about {estimate:.4g}"]


def _of_comparison(generated: FeatureSet, reference: Reference, resize: str | None) -> list[str]:
    """Warn of everything else that makes the scores incomparable with others."""
    warnings, dim = [], generated.pool.shape[1]
    if reference.pool is None:
        warnings.append("the reference stores no images, which precision and recall need")
    elif min(generated.count, len(reference.pool)) <= DENSITY_NEIGHBOURS:
        warnings.append(
            f"a set of {DENSITY_NEIGHBOURS} images or fewer is too small for some scores"
        )
    if reference.count is not None and reference.count < dim:
        warnings.append(
            f"the reference has {reference.count:,} images, fewer than its {dim:,} features"
        )
    size = reference.size
    if size is not None and generated.size != size:
        warnings.append(
            f"images of size {generated.size} were compared with a reference of size {size}"
        )
    elif resize == RESIZE[0]:
        warnings.append(f"images of other sizes than {generated.size} were resized to it")
    if reference.images is not None and reference.images.shape[3] != generated.channels:
        warnings.append(
            f"images of {generated.channels} channels were compared with a reference of "
            f"{reference.images.shape[3]}"
        )
    return [*warnings, *_of_classes(generated, reference)]


def _of_classes(generated: FeatureSet, reference: Reference) -> list[str]:
    """Warn of class proportions that differ between samples and reference."""
    real = reference.manifest.get("labels") or {}
    samples = label_counts(generated.labels, generated.classes) or {}
    total, real_total = sum(samples.values()), sum(real.values())
    if not total or not real_total or not samples.keys() & real.keys():
        return []
    apart = {k: samples.get(k, 0) / total - real.get(k, 0) / real_total for k in samples | real}
    name, most = max(apart.items(), key=lambda item: abs(item[1]))
    if abs(most) < SHARES_DIFFER:
        return []
    shares = (samples.get(name, 0) / total, real.get(name, 0) / real_total)
    return [
        f"class proportions differ: {name} is {shares[0]:.1%} of the samples and {shares[1]:.1%} "
        "of the reference, which alone makes distances larger"
    ]
