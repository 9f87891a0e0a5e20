"""adm evaluate SAMPLES --reference REF -> Report, printed and written as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from adm.app.cli import places
from adm.app.cli.options import THEIR_FEATURES, Classifier, Resize, Weak
from adm.app.cli.output import OUT, AsJson, say, show, table
from adm.app.cli.sampling import DEFAULT, Helpers, Settings
from adm.app.cli.scoring import USUAL_IMAGES, ImageOptions, with_cache

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.scoring import Report

CLASSES_SHOWN = 20  # rows printed; the file has all
SAMPLED = Parameter(group=Group("With --samples-of", sort_key=1))


def evaluate(
    samples: str | None = None,
    /,
    *,
    reference: str,
    features: Annotated[str | None, THEIR_FEATURES] = None,
    out: Annotated[Path | None, OUT] = None,
    resize: Resize = None,
    count: int | None = None,
    images: ImageOptions = USUAL_IMAGES,
    resamples: int = 1000,
    float16: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
    samples_of: Annotated[str | None, SAMPLED] = None,
    classes: Annotated[str | None, SAMPLED] = None,
    classifier: Annotated[Classifier, SAMPLED] = None,
    weak: Annotated[Weak, SAMPLED] = None,
    settings: Annotated[Settings, SAMPLED] = DEFAULT,
) -> None:
    """Score the images of any generator against a reference.

    Computes the Fréchet distance (FID, with Inception's features), sFID, Inception Score,
    precision, recall, density, coverage, kernel distance (KID), sliced Wasserstein distance (MIND)
    and Gaussian kernel distance, each with its 95% interval; and scores per class if samples and
    reference have labels. An interrupted command resumes when it is run again, and
    torchrun distributes it over several devices. With --samples-of, a model is sampled with the
    settings of `adm sample` while its images are scored, and no image is stored. --seed, 0 by
    default, seeds the resamples and the subsets of images, and with --samples-of the samples, too.

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
    out
        JSON file to write the whole report to.
    count
        Score only the first COUNT images; with --samples-of, the number of images to sample.
    resamples
        Bootstrap resamples for each interval.
    float16
        Add precision and recall computed in float16, as the released evaluator does on a GPU.
    samples_of
        Model to sample instead of SAMPLES: a path or a shipped name, such as fashion.
    classes
        Classes by name or number, with counts, as in `adm sample`. By default all take turns.
    """
    overrides = settings.overrides
    helpers = Helpers(classifier=classifier, weak=weak)
    of_model = {"classes": classes, "classifier": classifier, "weak": weak} | overrides
    _check_one_of(samples, samples_of, of_model, count)
    if out is not None:
        places.file(out, "--out", "report.json")
    from adm.scoring import Comparison
    from adm.scoring import evaluate as compare

    comparison = Comparison(
        split=images.split,
        size=images.size,
        channels=images.channels,
        count=count if samples_of is None else None,
        resize=resize,
        float16=float16,
        resamples=resamples,
        seed=settings.seed or 0,
    )
    extracting = images.joined()
    devices = extracting.devices
    if samples_of is not None:
        pipeline = helpers.load(samples_of, devices.device)
        helpers.check_used(pipeline.sampling.change(**overrides))
        scored = pipeline.job(classes, count, **overrides)
    else:
        assert samples is not None  # `_check_one_of` has refused
        scored = samples
    compared = [samples or (samples_of, of_model, count), reference, features, comparison]
    cached = with_cache(extracting, out, compared)
    with cached as extraction:
        report = compare(scored, reference, features, comparison, extraction)
        if out is not None:
            devices.once(lambda: report.save(out))
    if devices.main:
        show(report.to_json, as_json, lambda: print_report(report))
        if out is not None:
            say(f"{out}: the whole report", as_json)


def _check_one_of(
    samples: str | None, model: str | None, of_model: dict[str, Any], count: int | None
) -> None:
    """Raise ValueError unless there are either samples or a model, with options that fit them.

    Args:
        of_model: option -> value of those for a model; only --seed is for both.
    """
    if (samples is None) == (model is None):
        got = "neither" if samples is None else "both"
        raise ValueError(f"give SAMPLES or --samples-of, one of them; got {got}")
    if model is not None:
        if of_model["classes"] is None and count is None:
            raise ValueError("--samples-of needs a number of images; add --count, such as 5000")
        return
    for name in (name for name, value in of_model.items() if value is not None and name != "seed"):
        raise ValueError(f"--{name} is for a model to sample; add --samples-of, or leave it out")


def print_report(report: "Report") -> None:
    """Print the scores, those of the classes, and the warnings unless notices are off."""
    from adm.metrics import Score, title

    names, named = list[str](), report.features
    for side in (report.manifest.get(side, {}) for side in ("generated", "reference")):
        count = side.get("count")
        of = "number of images unknown" if count is None else f"{count:,} images"
        names.append(f"{side.get('source', '?')} ({of})")
    rows = list[tuple[str, ...]]()
    for key, score in report.scores.items():
        rows.append((title(key, named), *score.parts()))
    table(rows, ("score", ">value", ">95% interval"), " against ".join(names))
    if any(value is not None for each in report.classes for value in each[3:]):
        shown, count = report.classes[:CLASSES_SHOWN], len(report.classes)
        more = f", the first {CLASSES_SHOWN} of {count}" if count > CLASSES_SHOWN else ""
        counts = ("class", ">samples", ">real", ">Fréchet distance", ">precision", ">recall")
        of_class = [
            (
                *(each.name, f"{each.generated:,}", f"{each.real:,}"),
                *("" if value is None else Score(value).text() for value in each[3:]),
            )
            for each in shown
        ]
        table(of_class, counts, f"by class ({named}){more}")
    for warning in report.warnings:
        say(f"note: {warning}")
