"""Samples or data spec, reference, features spec, Comparison -> Report."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch

from adm.app.scoring.evaluate import at_size, report_on
from adm.app.scoring.generated import generated
from adm.app.scoring.opening import Opened, first, open_images
from adm.app.scoring.reference import (
    Reference,
    complete_reference,
    is_reference,
    load_reference,
    make_reference,
    stored_statistics,
)
from adm.app.scoring.report import Report
from adm.app.scoring.scores import FLOAT16, USUAL
from adm.app.scoring.statistics import DEFAULT, Extraction, extract
from adm.arguments import check
from adm.data import Source
from adm.data.source import in_memory
from adm.features import Features, open_features, recorded_features
from adm.generation.job import Job
from adm.generation.samples import Samples
from adm.metrics.bootstrap import RESAMPLES

DEFAULT_FEATURES = "inception"

# Extraction, description, number of images -> the extraction with its progress shown.
Shown: TypeAlias = Callable[[Extraction, str, int], AbstractContextManager[Extraction]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How samples and reference are made comparable, and which scores are computed.

    Attributes:
        split: split of the reference, if it is data: "train" or "test".
        size: (H, W) to which image files of samples and reference are resized and cropped.
        channels: 1, 3 or 4; by default 3 for image files, while arrays keep theirs.
        count: number of samples to score, the first ones; None for all.
        resize: for images of another size than those of the reference; see
            `evaluation.evaluate`.
        float16: whether to add precision and recall computed in float16, as the released evaluator
            does.
        resamples: bootstrap resamples for each interval.
        seed: random seed of the resamples and of the subsets of images.

    Raises:
        ValueError: `seed` is negative, or `resamples` is less than 2.
    """

    split: str = "train"
    size: tuple[int, int] | None = None
    channels: int | None = None
    count: int | None = None
    resize: str | None = None
    float16: bool = False
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if self.resamples < 2:
            raise ValueError(
                f"resamples=... must be at least 2, got {self.resamples}; 1000 is usual"
            )

    @property
    def unchanged(self) -> bool:
        """Whether samples are scored as stored."""
        return all(each is None for each in (self.count, self.resize, self.channels))


def evaluate(
    samples: str | Path | Samples | Job,
    reference: str | Path,
    features: str | None = None,
    comparison: Comparison | None = None,
    extraction: Extraction = DEFAULT,
    shown: Shown = lambda extraction, what, count: nullcontext(extraction),
) -> Report:
    """Score samples against a reference, as `adm evaluate` does.

    Args:
        samples: the result of `Pipeline.sample`, or a data spec: a sample folder, an .npz file of
            the released layout, or other data; or the job of `Pipeline.job`, whose images are
            sampled while their features are extracted, and not stored.
        reference: a file of `adm reference`, a released file, or a data spec to compute a reference
            from.
        features: a features spec: "inception", "efficientnet-lite0", "dinov2", a classifier, or
            "module:function"; by default those of the reference if they come with this package, or
            "inception". A function or classifier of the caller's must be given.
        comparison: sizes, channels and scores; defaults if None.
        extraction: device, batch size and cache folder.
        shown: adds progress to an extraction.

    Raises:
        ValueError: the images or the features cannot be compared.
    """
    check("samples", samples, (str, Path, Samples, Job), "samples, a job, or a data spec")
    check("reference", reference, (str, Path), "a path or a data spec; save samples to give them")
    check("features", features, (str, type(None)), "a features spec such as 'inception'")
    options = comparison or Comparison()
    check("comparison", options, (Comparison,), "Comparison(...)")
    opened = _opened(samples, options)
    source = opened.source if options.count is None else first(opened.source, options.count)
    against = _reference(str(reference), options)
    size = against.size if isinstance(against, Reference) else against.shape[1:]
    source = at_size(source, size, options.resize)
    chosen, real = _with_features(against, features, _part(extraction, "reference"), shown)
    what = f"extracting features of {source.name}"
    with shown(_part(extraction, "samples"), what, len(source)) as each:
        generated = extract(source, chosen, each)
    named = options.unchanged and isinstance(samples, str | Path)
    if named and (stored := stored_statistics(str(samples), chosen)) is not None:
        generated = replace(generated, stored=stored[0], stored_spatial=stored[1])
    return report_on(
        generated,
        real,
        devices=extraction.devices,
        resamples=options.resamples,
        seed=options.seed,
        only=(*USUAL, *(FLOAT16 if options.float16 else ())),
        made=opened.made,
        resize=options.resize,
    )


def _opened(samples: str | Path | Samples | Job, options: Comparison) -> Opened:
    if isinstance(samples, Job):
        return Opened(generated(samples), samples.manifest())
    if not isinstance(samples, Samples):
        return open_images(str(samples), size=options.size, channels=options.channels, pad=False)
    labels, count = samples.labels, len(samples)
    classes = samples.classes if labels is not None else ("all",)
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
    made = samples.chain[0][0].manifest()
    return Opened(in_memory("samples", classes, samples.images, labels), made)


def _reference(spec: str, options: Comparison) -> Reference | Source:
    """Open a reference, or the data to compute it from."""
    if is_reference(spec):
        return load_reference(spec)
    opened = open_images(spec, split=options.split, size=options.size, channels=options.channels)
    return opened.source


def _with_features(
    against: Reference | Source, name: str | None, extraction: Extraction, shown: Shown
) -> tuple[Features, Reference]:
    """Open features, and complete their reference, or compute it from data."""
    device, what = extraction.devices.device, f"extracting features of {against.name}"
    if isinstance(against, Reference):
        chosen = (
            recorded_features(against.features, against.name, device)
            if name is None
            else open_features(name, device)
        )
        with shown(extraction, what, against.missing) as each:
            return chosen, complete_reference(against, chosen, each)
    chosen = open_features(name or DEFAULT_FEATURES, device)
    with shown(extraction, what, len(against)) as each:
        return chosen, make_reference(against, chosen, each)


def _part(extraction: Extraction, name: str) -> Extraction:
    """Return the extraction with a sub-folder of its cache, for one of several sets of images."""
    if extraction.work is None:
        return extraction
    return replace(extraction, work=extraction.work / name)
