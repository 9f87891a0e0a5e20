"""adm evaluate SAMPLES --reference REF -> Report, printed and written as JSON."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.sampling import SamplingOptions
from adm.app.cli.scoring import (
    THEIR_FEATURES,
    USUAL_IMAGES,
    ImageOptions,
    Resize,
    with_cache,
)

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.generation.job import Job
    from adm.processes import Devices

OF_SAMPLING = ("classifier", "scale", "sampler", "steps")


def evaluate(
    samples: str | None = None,
    /,
    *,
    reference: str,
    samples_of: str | None = None,
    classes: Annotated[tuple[str, ...] | None, lists.CLASSES] = None,
    classifier: str | None = None,
    scale: float | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    features: Annotated[str | None, THEIR_FEATURES] = None,
    out: Annotated[Path | None, OUT] = None,
    resize: Resize = None,
    count: int | None = None,
    images: ImageOptions = USUAL_IMAGES,
    resamples: int = 1000,
    seed: int = 0,
    float16: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> None:
    """Score the images of any generator against a reference.

    Computes the Fréchet distance (FID, with Inception's features), sFID, Inception Score,
    precision, recall, density, coverage and kernel distance (KID), each with its 95% interval; and
    scores per class if samples and reference have labels. An interrupted command resumes when it is
    run again, and torchrun distributes it over several devices. With --samples-of, a model is
    sampled while its images are scored, and no image is stored.

    Examples:

        adm evaluate out/samples --reference VIRTUAL_imagenet64_labeled.npz --out report.json

        adm evaluate samples.npz --reference fashion.npz

        adm evaluate out/samples --reference photos/ --features efficientnet-lite0 --size 64

        adm evaluate --samples-of fashion --count 5000 --scale 2 --reference fashion.npz

        torchrun --nproc-per-node 8 -m adm evaluate samples.npz --reference ref.npz --out r.json

    Parameters
    ----------
    samples
        A sample folder, an .npz file (arr_0), a folder of images, an archive, ...
    reference
        A file of `adm reference`, a released file, or data to compute a reference from.
    samples_of
        Model to sample instead of SAMPLES: a path or a shipped name, such as fashion.
    classes
        With --samples-of: classes by name or number, with counts, as in `adm sample`. By default
        all classes take turns.
    classifier
        With --samples-of: noisy classifier that guides. By default the one that belongs to the
        model.
    scale
        With --samples-of: guidance scale; the recipe's value by default.
    sampler
        With --samples-of: the sampler, with its parameters; the recipe's by default.
    steps
        With --samples-of: network evaluations per image; the recipe's value by default.
    out
        JSON file to write the whole report to.
    count
        Score only the first COUNT images; with --samples-of, the number of images to sample.
    resamples
        Bootstrap resamples for each interval.
    seed
        Random seed of the resamples and of the subsets of images, and of the samples of
        --samples-of.
    float16
        Add precision and recall computed in float16, as the released evaluator does on a GPU.
    as_json
        Print the whole report as one JSON document.
    """
    how = SamplingOptions(
        classifier=classifier, scale=scale, sampler=sampler, steps=steps, seed=seed
    )
    chosen = lists.joined(classes)
    _check_one_of(samples, samples_of, how, chosen, count)
    if out is not None:
        places.file(out, "--out", "report.json")
    from rich.console import Console

    from adm.app.scoring import Comparison
    from adm.app.scoring import evaluate as compare

    comparison = Comparison(
        split=images.split,
        size=lists.height_and_width(images.size),
        channels=images.channels,
        count=count if samples_of is None else None,
        resize=resize,
        float16=float16,
        resamples=resamples,
        seed=seed,
    )
    extracting = images.joined()
    devices = extracting.devices
    scored = samples if samples_of is None else _job(samples_of, how, chosen, count, devices)
    assert scored is not None  # `_check_one_of` has refused
    compared = [samples or (samples_of, how, chosen, count), reference, features, comparison]
    cached = with_cache(extracting, out, compared)
    with cached as extraction:
        report = compare(scored, reference, features, comparison, extraction)
        if out is not None:
            devices.once(lambda: report.save(out))
    if devices.main:
        show(report.to_json, as_json, lambda: report.show(Console()))
        if out is not None:
            say(f"{out}: the whole report", as_json)


def _job(
    model: str, how: SamplingOptions, classes: str | None, count: int | None, devices: "Devices"
) -> "Job":
    """Return the images that are sampled while they are scored."""
    pipeline = replace(how, device=str(devices.device)).pipeline(model)
    return pipeline.job(classes, count, **how.settings)


def _check_one_of(
    samples: str | None,
    model: str | None,
    how: SamplingOptions,
    classes: str | None,
    count: int | None,
) -> None:
    """Raise ValueError unless there are samples or a model to sample, and options fit them."""
    if (samples is None) == (model is None):
        got = "neither" if samples is None else "both"
        raise ValueError(f"give SAMPLES or --samples-of, one of them; got {got}")
    if model is not None:
        if classes is None and count is None:
            raise ValueError("--samples-of needs a number of images; add --count, such as 5000")
        return
    given = {"classes": classes} | {name: getattr(how, name) for name in OF_SAMPLING}
    for name in (name for name, value in given.items() if value is not None):
        raise ValueError(f"--{name} is for a model to sample; add --samples-of, or leave it out")
