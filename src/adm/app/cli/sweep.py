"""adm sweep MODEL --vary NAME=VALUES --reference REF --out DIR -> samples, scores, report.html."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.proportions import labels_like
from adm.app.cli.scoring import Resize, extraction_of, joined, reference_data, scorers_for
from adm.app.progress import progress

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.study.study import Axis, Study
    from adm.models.trained import ClassifierModel

SCALES = "scale=0,0.5,1,2,4,8"
Vary = Annotated[tuple[str, ...], Parameter(name="--vary", negative="")]


def sweep(
    model: str,
    /,
    *,
    reference: Annotated[tuple[str, ...], lists.names("a.npz,b.npz")],
    out: Annotated[Path, OUT],
    vary: Vary = (SCALES,),
    classifier: str | None = None,
    weak: str | None = None,
    count: int = 1000,
    features: Annotated[tuple[str, ...] | None, lists.names("efficientnet-lite0")] = None,
    resize: Resize = None,
    classes: Annotated[tuple[str, ...] | None, lists.CLASSES] = None,
    proportions: str | None = None,
    judge: str | None = None,
    split: str = "train",
    seed: int = 0,
    batch_size: int = 64,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Score samples at several values of any settings, and plot what changes.

    Samples the model at every combination of the values, from the same noise, and scores each set
    of samples. Writes report.html, a single file of figures, sample grids and tables; report.md,
    report.json, and the figures as PNG; and the samples of every point in samples/. An interrupted
    command resumes when it is run again, and torchrun distributes it over several devices.

    Examples:

        adm sweep fashion --reference fashion-mnist --split test --features fashion-judge --out out

        adm sweep fashion --vary scale=0,1,2,4 --vary sampler=ddim,unipc --vary steps=10,25 \
            --reference fashion.npz --out out/samplers

        adm sweep runs/biggan --vary truncation=0.5,1,2 --reference fashion.npz --out out/gan

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion.
    reference
        References to score samples against: files of `adm reference`, one for each of the features;
        or data, from which references are computed once and stored in the sweep folder. Several
        are separated by commas or spaces.
    out
        Sweep folder to write or to resume.
    vary
        A setting of sampling and its values, as in scale=0,1,2; may be given several times, and
        with one value for a setting of all points. Values that have commas of their own are
        separated by |, as in 'guide=free:scale=1.5|free:scale=2,interval=300-980'.
    classifier
        Classifier that guides: a path or a shipped name. By default the one that belongs to the
        model.
    weak
        Worse model of the same images, that guidance by a weak model leads away from.
    count
        Images per point. Distances of few images are biased, and comparable within one sweep only.
    features
        Features to compare images by: inception, efficientnet-lite0, dinov2, a classifier's file or
        module:function, separated by commas or spaces. Those of the references by default, if they
        come with adm.
    classes
        Classes to sample, in turn: names, separated by commas or spaces. By default all.
    proportions
        List of labels, such as one of adm cluster, whose proportions of classes the images get.
    judge
        Classifier of clean images whose accuracy on the samples is reported as well.
    split
        Split of the reference, if it is data: train or test.
    seed
        Random seed. Each image depends on the seed and its index only.
    batch_size
        Images that are sampled between two saves, rounded up to whole blocks, which affects no
        image; and images per batch of the features, which affects scores only by rounding.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    as_json
        Print all scores as one JSON document.
    """
    places.resumable(out, "a sweep needs")
    # Imported here, so that --help does not load torch.
    from adm.app.study.page import write
    from adm.app.study.run import alone, evaluations, run
    from adm.app.study.scoring import Scoring
    from adm.app.study.study import Study, axis
    from adm.generation.pipeline import load
    from adm.models.load import load_classifier

    axes = tuple(axis(text) for text in vary)
    devices = joined(device)
    extraction = extraction_of(devices, batch_size)
    pipeline = load(model, classifier, device=devices.device, weak=weak)
    chosen = labels_of(pipeline.classes, lists.joined(classes), proportions, count)
    study = Study(pipeline.model.name, pipeline, axes, chosen, count, seed_of(axes, seed))
    study.check()
    judge_model = load_classifier(judge, devices.device) if judge else None
    data = reference_data(reference[0], split, pipeline.shape)
    with alone(out, devices):
        scorers = scorers_for(reference, features, data, out, extraction)
        scoring = Scoring(
            [replace(scorer, resize=resize) for scorer in scorers],
            judge_model,
            judge_labels(judge_model, study),
        )
        total = evaluations(study, scoring, devices)
        bar = progress("sampling and scoring", total, "network evaluations")
        with bar if devices.main else nullcontext() as advance:
            result = run(
                study, scoring, out, devices=devices, batch_size=batch_size, on_evaluations=advance
            )
        if result is not None:
            write(result, out)
    if result is not None:
        show(result.to_json, as_json, lambda: None)
        say(f"{out / 'report.html'}: open it in a browser; report.md has the tables", as_json)


def seed_of(axes: "Sequence[Axis]", seed: int) -> dict[str, int]:
    """Return the seed as a setting of all points, unless it is one of those that vary."""
    return {} if any(each.name == "seed" for each in axes) else {"seed": seed}


def labels_of(
    known: Sequence[str], classes: str | None, proportions: str | None, count: int
) -> list[int] | None:
    """Return the label of each image of a point; None for a model without classes."""
    from adm.app.study.study import balanced_labels
    from adm.generation.labels import parse_classes

    if proportions is not None:
        return labels_like(proportions, classes, known, count).tolist()
    return balanced_labels(parse_classes(classes or "all", known), count) if known else None


def judge_labels(judge: "ClassifierModel | None", study: "Study") -> list[int]:
    """Return the labels of the samples in the numbering of the judge's classes."""
    from adm.generation.cascade import translate
    from adm.spec import SettingError

    if judge is None:
        return []
    if study.labels is None:
        raise SettingError("judge", "left out for a model without classes")
    named = translate(study.labels, study.model.classes, judge.classes)
    if named is None:
        some = ", ".join(study.model.classes[:20])
        raise SettingError("judge", f"a classifier of some of the classes {some}")
    return named
