"""Samples, reference, features, Comparison -> Report."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import Field

from adm.data import Source
from adm.features import Features, open_features, recorded_features
from adm.generation.inputs import Opened, open_images
from adm.generation.job import Job
from adm.generation.samples import Samples, sample
from adm.images import UINT8, Uint16
from adm.metrics import Score, title
from adm.metrics.bootstrap import RESAMPLES
from adm.metrics.manifold import DENSITY_NEIGHBOURS
from adm.processes import Devices
from adm.scoring.extraction import DEFAULT, Extraction, FeatureSet, extract
from adm.scoring.images import first, open_samples, resize_to
from adm.scoring.manifest import omit_labels, versions
from adm.scoring.reference import (
    Reference,
    cached_reference,
    complete_reference,
    is_reference,
    load_reference,
    located,
    make_reference,
    read_statistics,
)
from adm.scoring.report import Report, class_scores, scores
from adm.spec import Checked, SettingError, check_type, literal, text
from adm.store.files import user_cache

USUAL_COUNT = 50_000  # samples in published scores
SHARES_DIFFER = 0.05  # least difference of the fractions of a class for a warning

Resize: TypeAlias = Literal["to-reference", "none"]


@dataclass(frozen=True, kw_only=True)
class Comparison(Checked):
    """How samples and reference are made comparable, and which scores are computed.

    Attributes:
        split: split of the reference, if it is data: "train" or "test".
        size: (H, W) to which image files of samples and reference are resized and cropped; None
            for those of the samples.
        channels: 1, 3 or 4; by default 3 for image files, while arrays keep theirs.
        count: number of samples to score, the first ones; None for all.
        resize: for images of another size than those of the reference: "to-reference" resizes
            them, "none" leaves them to the preprocessing of the features; None refuses them.
        resamples: bootstrap resamples for each interval.
        seed: random seed of the resamples and of the subsets of images.

    Raises:
        SettingError: one of them is out of its range.
    """

    split: str = "train"
    size: tuple[int, int] | None = None
    channels: int | None = None
    count: int | None = None
    resize: Resize | None = None
    resamples: Annotated[int, Field(ge=2)] = RESAMPLES
    seed: Annotated[int, Field(ge=0)] = 0


def evaluate(
    samples: str | Path | Samples | Job | Opened,
    reference: str | Path | Reference | Samples | Job,
    features: str | Features | None = None,
    comparison: Comparison | None = None,
    extraction: Extraction = DEFAULT,
) -> Report:
    """Score samples against a reference, as `adm evaluate` does.

    Args:
        samples: the result of `Pipeline.sample`, or a data spec: a sample folder, an .npz file of
            the released layout, or other data; or the job of `Pipeline.job`, whose images are
            sampled while their features are extracted, and not stored; or images that were opened
            by `open_images`.
        reference: a reference; a file of `adm reference`, a released file or its public name such
            as openai/imagenet256-reference, or a data spec, whose reference is computed once and
            cached for the user; or samples, or a job, which is sampled into memory.
        features: an extractor or its spec, see `open_features`; by default those of the reference
            if they come with this package, or those that are installed. A function or classifier of
            the caller's must be given.
        comparison: sizes, channels and scores; defaults if None.
        extraction: device, batch size, cache folder and progress.

    Returns:
        The report, equal on every rank.

    Raises:
        ValueError: the images or the features cannot be compared.
    """
    check_type(
        "samples", samples, (str, Path, Samples, Job, Opened), "samples, a job, or a data spec"
    )
    check_type(
        "reference",
        reference,
        (str, Path, Reference, Samples, Job),
        "a path, a data spec or samples",
    )
    check_type(
        "features", features, (str, Features, type(None)), "a features spec such as 'inception'"
    )
    options = comparison or Comparison()
    check_type("comparison", options, (Comparison,), "Comparison(...)")
    devices = extraction.devices
    opened = _open(samples, options, devices)
    source = opened.source if options.count is None else first(opened.source, options.count)
    against = _reference(reference, options, devices, source)
    size = against.size if isinstance(against, Reference) else against.shape[1:]
    by_name = isinstance(reference, str | Path) and isinstance(against, Reference)
    if by_name and source.range not in (UINT8, Uint16()):
        raise SettingError(
            "reference",
            f"{{}} is of 8-bit values, and {literal(source.name)} has those of "
            f"{literal(text(source.range))}; give the images of the reference",
        )
    source = at_size(source, size, options.resize)
    make = partial(cached_reference, folder=user_cache("references"))
    if isinstance(reference, Samples | Job):
        make = make_reference
    chosen, real = _with_features(against, features, extraction.part("reference"), make)
    generated = extract(source, chosen, extraction.part("samples"))
    changed = (options.count, options.resize, options.channels) != (None, None, None)
    if isinstance(samples, str | Path) and not changed:
        generated = replace(generated, stored=read_statistics(str(samples), chosen))
    return devices.once(lambda: _report(generated, real, options, opened.manifest, devices.device))


def _open(
    samples: str | Path | Samples | Job | Opened, options: Comparison, devices: Devices
) -> Opened:
    if isinstance(samples, Opened):
        return samples
    if isinstance(samples, Samples | Job):
        return open_samples(samples)
    settings = {"size": options.size, "channels": options.channels}
    return open_images(str(samples), pad=False, **settings)


def _reference(
    reference: str | Path | Reference | Samples | Job,
    options: Comparison,
    devices: Devices,
    like: Source,
) -> Reference | Source:
    """Open a reference, or the images to compute it from, with the size of images `like` these."""
    if isinstance(reference, Reference):
        return reference
    if isinstance(reference, str):
        reference = devices.once(partial(located, reference))
    if isinstance(reference, Job):  # whose images are read twice
        reference = sample(reference)
    if isinstance(reference, Samples):
        return open_samples(reference).source
    if is_reference(reference):
        return load_reference(reference)
    settings = {"size": options.size, "channels": options.channels, "like": like}
    return open_images(str(reference), split=options.split, **settings).source


def _with_features(
    against: Reference | Source,
    features: str | Features | None,
    extraction: Extraction,
    make: Callable[..., Reference],
) -> tuple[Features, Reference]:
    """Open features, and complete their reference, or `make` it from images."""
    device = extraction.devices.device
    if features is None and isinstance(against, Reference):
        features = recorded_features(against.features, against.name, device)
    if not isinstance(features, Features):
        features = open_features(features, device)
    if isinstance(against, Reference):
        return features, complete_reference(against, features, extraction)
    return features, make(against, features, extraction=extraction)


def at_size(source: Source, size: tuple[int, int] | None, resize: Resize | None) -> Source:
    """Return the images, resized to the size of the reference if `resize` says so.

    Args:
        size: (H, W) of the images of the reference, or None if it has none.
        resize: see `Comparison`.

    Raises:
        ValueError: there are no images.
        SettingError: they are of another size and `resize` is None.
    """
    if len(source) < 1:
        raise ValueError(
            f"{source.name} has no images, and scores need at least 2; give more images"
        )
    own = source.shape[1:]
    check_sizes(source.name, own, size, resize)
    if size is None or own == size or resize == "none":
        return source
    return resize_to(source, size)


def check_sizes(
    name: str, own: tuple[int, int], size: tuple[int, int] | None, resize: Resize | None
) -> None:
    """Raise the SettingError of `at_size` for images that may not exist yet.

    Args:
        name: of the images.
        own: their (H, W).
        size, resize: see `at_size`.
    """
    if resize is None and size not in (None, own):
        ours, theirs = ("x".join(map(str, each)) for each in (own, size))
        raise SettingError(
            "resize",
            f"{literal(name)} has images of {ours} and the reference of {theirs}; "
            "{resize=to-reference} resizes them, and {resize=none} leaves it to the preprocessing "
            "of the features",
        )


def _report(
    generated: FeatureSet,
    reference: Reference,
    options: Comparison,
    sample_manifest: dict[str, Any] | None,
    device: torch.device,
) -> Report:
    """Score extracted features of images that were resized as `options.resize` says."""
    # Exact comparisons of distances need float64, which MPS does not support.
    computing = str(device) if device.type == "cuda" else "cpu"
    scored = scores(
        generated,
        reference,
        resamples=options.resamples,
        seed=options.seed,
        device=computing,
    )
    manifest = _manifest(generated, reference, sample_manifest, options.resize)
    manifest |= {"resamples": options.resamples, "seed": options.seed}
    classes = class_scores(generated, reference, computing)
    warnings = _of_bias(generated, scored)
    warnings += _of_comparison(generated, reference, scored, options.resize)
    return Report(generated.name, scored, manifest, classes, tuple(warnings))


def _manifest(
    generated: FeatureSet,
    reference: Reference,
    sample_manifest: dict[str, Any] | None,
    resize: Resize | None,
) -> dict[str, Any]:
    counts, balance = generated.label_counts, None
    if counts is not None:  # how evenly labelled samples are spread over their classes
        per_class = counts.values()
        balance = {"classes": len(counts), "fewest": min(per_class), "most": max(per_class)}
    return {
        "generated": {
            **generated.manifest(),
            "balance": balance,
            "rounding": _rounding(sample_manifest),
            "made": omit_labels(sample_manifest),
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


def _rounding(manifest: Mapping[str, Any] | None) -> str | None:
    """Return how the generator rounded to bytes; None without the manifest of a sample folder."""
    settings = manifest and manifest.get("sampling")
    return settings.get("rounding") if isinstance(settings, dict) else None


def _of_bias(generated: FeatureSet, scored: Mapping[str, Score]) -> list[str]:
    """Warn of a distance of fewer images than usual, with an estimate without its bias."""
    count, dim = generated.count, generated.pool.shape[1]
    if count >= USUAL_COUNT or generated.stored is not None:
        return []
    fewer = f", no more than the {dim:,} features," if count <= dim else ""
    warning = (
        f"{title('frechet', generated.name)} of {count:,} images{fewer} is biased upwards; compare "
        f"it only with values of {count:,} images (published ones are of {USUAL_COUNT:,})"
    )
    if "frechet_at_infinity" not in scored or count <= dim:
        return [warning]
    estimate = max(0.0, scored["frechet_at_infinity"].value)
    return [f"{warning}. Extrapolated to infinitely many images it is about {estimate:.4g}"]


def _of_comparison(
    generated: FeatureSet,
    reference: Reference,
    scored: Mapping[str, Score],
    resize: Resize | None,
) -> list[str]:
    """Warn of everything else that makes the scores incomparable with others."""
    warnings, dim = [], generated.pool.shape[1]
    if reference.pool is None:
        warnings.append("the reference stores no images, which precision and recall need")
    elif min(generated.count, len(reference.pool)) <= DENSITY_NEIGHBOURS:
        warnings.append(
            f"a set of {DENSITY_NEIGHBOURS} images or fewer is too small for some scores"
        )
    if generated.stored is None and not math.isfinite(scored["frechet"].low):
        warnings.append(
            "the Fréchet distance has no interval: too few images, or they vary too little"
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
    elif resize == "to-reference":
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
    samples = generated.label_counts or {}
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
