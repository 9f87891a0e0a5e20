"""samples, a reference, features -> a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from adm.data import Source
from adm.evaluation.classes import class_scores
from adm.evaluation.manifest import described, label_counts, versions
from adm.evaluation.opening import resized
from adm.evaluation.reference import Reference, check_features
from adm.evaluation.report import Report
from adm.evaluation.scores import USUAL, Score, scores, title
from adm.evaluation.statistics import PLAINLY, FeatureSet, Looking, extract
from adm.features import Features
from adm.metrics.bootstrap import RESAMPLES
from adm.metrics.manifold import DENSITY_NEIGHBOURS
from adm.processes import Devices

RESIZE = ("to-reference", "none")
USUAL_COUNT = 50_000  # that published numbers take
UNLIKE = 0.05  # difference of a class's share between both sides that is worth a word


def evaluate(
    source: Source,
    reference: Reference,
    features: Features,
    looking: Looking = PLAINLY,
    *,
    resize: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    only: Sequence[str] = USUAL,
    made: dict[str, Any] | None = None,
) -> Report:
    """Score images against a reference.

    Args:
        source: the images, at least 2 of one size.
        reference: of the same features.
        features: what both are looked at with.
        looking: in which processes, and how.
        resize: for images of another size than the reference's: `to-reference` makes them of its
            size, `none` leaves it to the features to see both as they are.
        resamples, seed, only: see `scores`.
        made: how the images were made, for the manifest.

    Returns:
        The same in every process.

    Raises:
        ValueError: a reference of other features, images of another size and no word on that, or
            as `extract`.
    """
    check_features(reference, features)
    source = at_size(source, reference.size, resize)
    seen = extract(source, features, looking)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed, "only": only}
    return report_on(seen, reference, devices=looking.devices, made=made, resize=resize, **options)


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
    """The same of images that were looked at already; the main process computes for all.

    Raises:
        ValueError: a reference of other features.
    """
    devices = devices or Devices(torch.device("cpu"))
    made_of: list[Report] = []

    def act() -> None:
        # Distances are compared exactly in float64, which Apple's GPUs do not have.
        device = str(devices.device) if devices.device.type == "cuda" else "cpu"
        found = scores(
            generated, reference, only=only, resamples=resamples, seed=seed, device=device
        )
        manifest = _manifest(generated, reference, made, resize)
        manifest |= {"resamples": resamples, "seed": seed}
        classes = class_scores(generated, reference, device)
        notes = _few(generated, found) + _warnings(generated, reference, resize)
        made_of.append(Report(generated.name, found, manifest, classes, tuple(notes)))

    devices.once(act)
    return devices.gather(made_of[0] if made_of else None)[0]


def at_size(source: Source, theirs: tuple[int, int] | None, resize: str | None) -> Source:
    """Images that may be compared with the reference's.

    Args:
        theirs: (H, W) of the reference's, or None where it has none.
        resize: see `evaluate`.

    Raises:
        ValueError: another size, and `resize` does not say what to do; or it is neither.
    """
    if resize not in (None, *RESIZE):
        raise ValueError(f"resize must be {' or '.join(RESIZE)}, got {resize!r}")
    if len(source) < 1:
        raise ValueError(f"{source.name} holds no images; scores need 2 or more")
    own = source.shape[1:]
    if theirs is None or own == theirs or resize == "none":
        return source
    if resize is None:
        raise ValueError(
            f"{source.name} has images of {own[0]}x{own[1]} and the reference of "
            f"{theirs[0]}x{theirs[1]}; give --resize to-reference, or --resize none to let the "
            "features see each as it is, or make a reference of that size"
        )
    return resized(source, theirs)


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
            "statistics": "of the images" if generated.given is None else "as stored in the file",
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


def _few(generated: FeatureSet, found: Mapping[str, Score]) -> list[str]:
    """A word on a distance from fewer images than usual, and an estimate without its bias."""
    count, dim = generated.count, generated.pool.shape[1]
    if count >= USUAL_COUNT or generated.given is not None:
        return []
    fewer = f", no more than the {dim:,} features," if count <= dim else ""
    said = (
        f"{title('frechet', generated.name)} of {count:,} images{fewer} is larger than of more, "
        f"and compares only with others of {count:,}; published ones take {USUAL_COUNT:,}"
    )
    if "frechet_at_infinity" not in found or count <= dim:
        return [said]
    estimate = max(0.0, found["frechet_at_infinity"].value)
    return [f"{said}. Of infinitely many it is about {estimate:.4g}"]


def _warnings(generated: FeatureSet, reference: Reference, resize: str | None) -> list[str]:
    """What else keeps the numbers from being compared with others."""
    said, dim = [], generated.pool.shape[1]
    if reference.pool is None:
        said.append("the reference keeps no images, which precision, recall and others take")
    elif min(generated.count, len(reference.pool)) <= DENSITY_NEIGHBOURS:
        said.append(f"{DENSITY_NEIGHBOURS} images or fewer on a side are too few for some scores")
    if reference.count is not None and reference.count < dim:
        said.append(f"the reference has {reference.count:,} images and {dim:,} features")
    size = reference.size
    if size is not None and generated.size != size:
        said.append(f"images of {generated.size} were compared with a reference of {size}")
    elif resize == RESIZE[0]:
        said.append(f"images were resized to {generated.size}, if they were not of that size")
    if reference.images is not None and reference.images.shape[3] != generated.channels:
        said.append(
            f"images of {generated.channels} channels were compared with a reference of "
            f"{reference.images.shape[3]}"
        )
    return [*said, *_unlike(generated, reference)]


def _unlike(generated: FeatureSet, reference: Reference) -> list[str]:
    """A word on shares of classes that differ between both sides."""
    theirs = reference.manifest.get("labels") or {}
    ours = label_counts(generated.labels, generated.classes) or {}
    total, real = sum(ours.values()), sum(theirs.values())
    if not total or not real or not ours.keys() & theirs.keys():
        return []
    apart = {k: ours.get(k, 0) / total - theirs.get(k, 0) / real for k in ours | theirs}
    name, most = max(apart.items(), key=lambda item: abs(item[1]))
    if abs(most) < UNLIKE:
        return []
    shares = (ours.get(name, 0) / total, theirs.get(name, 0) / real)
    return [
        f"the classes are mixed otherwise: {name} is {shares[0]:.1%} of the samples and "
        f"{shares[1]:.1%} of the reference, which alone makes distances larger"
    ]
