"""adm frontier MODEL --reference REF --out DIR -> frontier folder: timings, scores, a page."""

import shlex
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.scoring import Resize, extraction_of, joined, reference_data, scorers_for
from adm.app.cli.sweep import Vary, labels_of, seed_of
from adm.app.progress import Advance, progress
from adm.shown import printable

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.study.frontier.stored import Frontier
    from adm.app.study.study import Axis, Study
    from adm.generation.pipeline import Pipeline

USUAL = {  # of each setting that is not listed; the samplers are those that are deterministic
    "sampler": "sampler=ddim,dpm-solver,unipc,ipndm,splitting",
    "grid": "grid=even,log-snr,karras,searched",
    "steps": "steps=5,8,10,16,25",
    "scale": "scale=0,2",
}
UNGUIDED = "scale=0"


def frontier(
    model: str,
    /,
    *,
    reference: Annotated[tuple[str, ...], lists.names("a.npz,b.npz")],
    out: Annotated[Path, OUT],
    vary: Vary = (),
    classifier: str | None = None,
    count: int = 1000,
    trial_count: int = 16,
    keep: int = 8,
    features: Annotated[tuple[str, ...] | None, lists.names("efficientnet-lite0")] = None,
    resize: Resize = None,
    classes: Annotated[tuple[str, ...], lists.CLASSES] = ("all",),
    split: str = "train",
    seed: int = 0,
    batch_size: int = 64,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Measure time against quality on this machine, and recommend settings.

    A point is a combination of sampler, levels, steps and scale. A first pass measures the seconds
    an image of each point, and the error of a few images against those of many steps. The points of
    each scale that are on the frontier of both, and those nearest to it, are then sampled in full
    and scored. Writes frontier.html, a single file that ends in the recommended settings;
    report.md, frontier.json and the figures as PNG; and stores what was found for `adm sample
    --budget`, with the model, or in the user's folder for a shipped one. An interrupted command
    resumes when it is run again, and torchrun shares the work among several processes. Leave the
    machine to it: other work makes the timings longer.

    Examples:

        adm frontier runs/digits --reference digits --features inception --out out/frontier

        adm frontier runs/a --classifier runs/a-classifier --reference a.npz --vary scale=0,1,4 \
            --vary steps=5,10,20 --vary sampler=ddim,unipc --count 5000 --out out/frontier

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion.
    reference
        References to score samples against: files of `adm reference`, one for each of the features;
        or data, from which references are computed once and stored in the frontier folder. Several
        are separated by commas or spaces; the first of the features decides what is best.
    out
        Frontier folder to write or to resume.
    vary
        A setting of sampling and its values, as in steps=5,10; may be given several times, and
        with one value for a setting of all points. Those that are not given have usual values.
        Samplers that draw noise have no images to converge to, which the first pass compares
        with; score them by adm sweep.
    classifier
        Classifier that guides: a path or a shipped name. By default the one that belongs to the
        model.
    count
        Images of each point that is sampled in full. Distances of few images are biased, and
        comparable within one frontier only.
    trial_count
        Images of each point in the first pass.
    keep
        Points of each scale that are sampled in full; more if the frontier of the first pass has
        more.
    features
        Features to compare images by: inception, efficientnet-lite0, dinov2, a classifier's file or
        module:function, separated by commas or spaces. Those of the references by default, if they
        come with adm.
    classes
        Classes to sample, in turn: all, or names separated by commas or spaces.
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
        Print frontier.json.
    """
    places.resumable(out, "a frontier needs")
    # Imported here, so that --help does not load torch.
    from adm.app.study.frontier.page import PAGE, sentences, write
    from adm.app.study.frontier.trial import Trial, find_frontier
    from adm.app.study.run import alone
    from adm.app.study.scoring import Scoring
    from adm.app.study.study import axis
    from adm.generation.pipeline import load

    axes = [axis(text) for text in vary]
    devices = joined(device)
    pipeline = load(model, classifier, device=devices.device)
    labels = labels_of(pipeline.classes, ",".join(classes), None, count)
    study = _study(pipeline, axes, labels, count, seed)
    trial = Trial(study, pipeline.schedule.last, min(trial_count, count), out, devices)
    data = reference_data(reference[0], split, pipeline.shape)

    def bar(what: str, total: float) -> AbstractContextManager[Advance | None]:
        return progress(what, total, "network evaluations") if devices.main else nullcontext()

    with alone(out, devices):
        scorers = scorers_for(reference, features, data, out, extraction_of(devices, batch_size))
        scoring = Scoring([replace(scorer, resize=resize) for scorer in scorers])
        found = find_frontier(trial, scoring, keep=keep, batch_size=batch_size, bar=bar)
        if found is not None:
            given = [model, *(["--classifier", classifier] if classifier else [])]
            write(found, study, shlex.join(given), out)
    if found is not None:
        _store(found, pipeline, out)
        finished = found
        said = [printable(sentence) for sentence in sentences(found)]
        show(lambda: asdict(finished), as_json, lambda: print("\n".join(said)))
        say(f"{out / PAGE}: open it in a browser; report.md has the tables", as_json)


def _study(
    pipeline: "Pipeline", axes: "list[Axis]", labels: list[int] | None, count: int, seed: int
) -> "Study":
    """Return the points that can be sampled; say which cannot."""
    from adm.app.study.frontier.trial import drop_impossible
    from adm.app.study.study import Study, axis

    listed = {each.name for each in axes}
    usual = USUAL if pipeline.guide else USUAL | {"scale": UNGUIDED}
    others = [axis(text) for name, text in usual.items() if name not in listed]
    order = list(usual)  # those that are not in it come first
    every = sorted((*axes, *others), key=lambda a: order.index(a.name) if a.name in order else -1)
    name, base = pipeline.model.name, seed_of(axes, seed)
    every_point = Study(name, pipeline, tuple(every), labels, count, base)
    study, reasons = drop_impossible(every_point, listed)
    study.check()
    for point, reason in list(reasons.items())[:1]:
        more = f", and {len(reasons) - 1} more points" if len(reasons) > 1 else ""
        say(f"left out, since it cannot be sampled: {point}{more} ({reason})")
    return study


def _store(found: "Frontier", pipeline: "Pipeline", out: Path) -> None:
    """Store a frontier for `adm sample`; say where it is, or that it could not be."""
    from adm.app.study.frontier.stored import FILE, place, save

    path = place(pipeline.model.path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(found, path)
    except OSError as error:
        say(
            f"{path} cannot be written ({error.strerror}), where `adm sample --budget` reads it; "
            f"copy {out / FILE} to a place of this name"
        )
    else:
        say(f"{path}: `adm sample --budget` reads it")
