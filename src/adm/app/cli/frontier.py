"""adm frontier MODEL --reference REF --out DIR -> frontier folder: timings, scores, a page."""

import shlex
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.progress import Advance, progress
from adm.app.cli.sampling import SamplingOptions
from adm.app.cli.scoring import joined, reference_data, scorers_for
from adm.shown import printable

STEPS = (5, 8, 10, 16, 25)
SAMPLERS = ("ddim", "dpm-solver", "unipc", "ipndm", "splitting")  # those that are deterministic
SPACINGS = ("even", "log_snr", "karras", "searched")
SCALES = (0.0, 2.0)

if TYPE_CHECKING:
    from adm.app.study.frontier.plan import Candidates
    from adm.app.study.frontier.stored import Frontier
    from adm.generation.pipeline import Pipeline


def frontier(
    model: str,
    /,
    *,
    reference: Annotated[tuple[str, ...], lists.names("a.npz,b.npz")],
    out: Annotated[Path, OUT],
    classifier: str | None = None,
    samplers: Annotated[tuple[str, ...] | None, lists.names("ddim,ancestral")] = None,
    spacings: Annotated[tuple[str, ...] | None, lists.names("even,quadratic")] = None,
    ends: Annotated[tuple[float, ...] | None, lists.numbers("3,20")] = None,
    steps: Annotated[tuple[int, ...], lists.whole_numbers("5,10,25")] = STEPS,
    scales: Annotated[tuple[float, ...] | None, lists.numbers("0,2")] = None,
    precisions: Annotated[tuple[str, ...] | None, lists.names("float32,bfloat16")] = None,
    guide_interval: Annotated[tuple[int, ...] | None, lists.whole_numbers("100,700")] = None,
    guide_every: int | None = None,
    count: int = 1000,
    trial_count: int = 16,
    keep: int = 8,
    features: Annotated[tuple[str, ...] | None, lists.names("efficientnet-lite0")] = None,
    resize: str | None = None,
    classes: Annotated[tuple[str, ...], lists.CLASSES] = ("all",),
    without_label: Annotated[bool, Parameter(negative="")] = False,
    split: str = "train",
    seed: int = 0,
    start: int | None = None,
    batch_size: int = 64,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Measure time against quality on this machine, and recommend settings.

    A point is a combination of sampler, levels, scale and precision. A first pass measures the
    seconds an image of each point, and the error of a few images against those of many steps.
    The points of each scale that are on the frontier of both, and those nearest to it, are then
    sampled in full and scored. Writes frontier.html, a single file that ends in the recommended
    settings; report.md, frontier.json and the figures as PNG; and stores frontier.json with the
    model, for `adm sample --budget`. An interrupted command resumes when it is run again, and
    torchrun shares the work among several processes. Leave the machine to it: other work makes
    the timings longer.

    Examples:

        adm frontier runs/digits --reference digits --features inception --out out/frontier

        adm frontier runs/a --classifier runs/a-classifier --reference a.npz --scales 0,1,4 \
            --steps 5,10,20 --samplers ddim,ancestral --count 5000 --out out/frontier

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
    classifier
        Classifier that guides: a path or a shipped name. By default the one that belongs to the
        model.
    samplers
        Samplers, with parameters after colons, as in ddim:eta=0.5. By default all that need no
        noise but that they start from. The first pass cannot compare one that draws noise, such as
        ancestral, and all its points are sampled in full.
    spacings
        Spacings of the levels; by default even, log_snr, karras and searched, those that there are.
    ends
        Least noisy levels that are visited, for the spacings log_snr and karras; by default the
        recipe's, or the usual end of `adm sample`.
    steps
        Numbers of levels visited.
    scales
        Guidance scales; 0 and 2 by default, or 0 without a classifier.
    precisions
        Precisions of the networks: float32, bfloat16, float16; the recipe's by default.
    guide_interval
        Lowest and highest noise level of guidance, in 0..T, as in 100,700; all levels by default.
    guide_every
        Evaluate the classifier at every second, third, ... level only, and reuse its gradient in
        between.
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
    resize
        For samples of another size than those of a reference: to-reference resizes them; none
        leaves them to the preprocessing of the features.
    classes
        Classes to sample, in turn: all, or names separated by commas or spaces.
    without_label
        Do not pass the class to the diffusion model; only the classifier guides.
    split
        Split of the reference, if it is data: train or test.
    seed
        Random seed. Each image depends on the seed and its index only.
    start
        Noisiest level that sampling visits.
    batch_size
        Images that are sampled between two saves, rounded up to whole blocks, which affects no
        image; and images per batch of the features, which affects scores only by rounding.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    as_json
        Print frontier.json.
    """
    how = SamplingOptions(
        classifier=classifier,
        scale=max(map(abs, scales), default=0.0) if scales else None,
        guide_interval=guide_interval,
        guide_every=guide_every,
        seed=seed,
        start=start,
        without_label=without_label,
        device=device,
    )
    listed: dict[str, tuple[Any, ...] | None] = {
        "sampler": samplers,
        "spacing": spacings,
        "end": ends,
        "steps": steps,
        "precision": precisions,
    }
    places.resumable(out, "a frontier needs")
    # Imported here, so that --help does not load torch.
    from adm.app.scoring import Extraction
    from adm.app.study.frontier.page import PAGE, write
    from adm.app.study.frontier.run import run
    from adm.app.study.frontier.stored import Shared
    from adm.app.study.frontier.trial import Trial, converged_points
    from adm.app.study.run import alone
    from adm.app.study.scoring import Scoring

    devices = joined(device)
    pipeline = replace(how, device=str(devices.device)).of_diffusion(model)
    plan = _plan(pipeline, how, listed, scales, ",".join(classes), count)
    trial = Trial(plan, converged_points(plan), min(trial_count, count), out, devices)
    data = reference_data(reference[0], split, pipeline.shape)
    shared = Shared(
        start=start,
        without_label=without_label,
        guide_interval=guide_interval,
        guide_every=guide_every,
    )

    def bar(what: str, total: float) -> AbstractContextManager[Advance | None]:
        return progress(what, total, "network evaluations") if devices.main else nullcontext()

    with alone(out, devices):
        scorers = scorers_for(reference, features, data, out, Extraction(devices, batch_size))
        scoring = Scoring([replace(scorer, resize=resize) for scorer in scorers])
        found = run(trial, scoring, keep=keep, shared=shared, batch_size=batch_size, bar=bar)
        if found is not None:
            given = [model, *(["--classifier", classifier] if classifier else [])]
            write(found, plan, shlex.join(given), out)
    if found is not None:
        _store(found, pipeline, out)
        finished = found
        show(lambda: asdict(finished), as_json, lambda: _print(finished))
        say(f"{out / PAGE}: open it in a browser; report.md has the tables", as_json)


def _plan(
    pipeline: "Pipeline",
    how: SamplingOptions,
    listed: dict[str, tuple[Any, ...] | None],
    scales: tuple[float, ...] | None,
    classes: str,
    count: int,
) -> "Candidates":
    """Return the points that can be sampled; say which cannot."""
    from adm.app.study.frontier.plan import Candidates, possible
    from adm.app.study.frontier.point import combinations
    from adm.app.study.plan import balanced
    from adm.generation.labels import parse_classes
    from adm.samplers.words import changed

    strengths = scales or (SCALES if pipeline.guide else SCALES[:1])
    base = changed(pipeline.sampling, **how.settings)
    usual = {
        "sampler": SAMPLERS,
        "spacing": SPACINGS,
        "end": (None,),
        "precision": (base.precision,),
    }
    chosen = {name: values or usual[name] for name, values in listed.items()}
    points = combinations(**chosen, scale=sorted(strengths))
    known = pipeline.classes
    labels = balanced(parse_classes(classes, known), count) if known else None
    guide = pipeline.classifier if any(strengths) else None
    asked = {name for name, values in listed.items() if values}
    plan, left_out = possible(Candidates(pipeline.model, guide, base, labels, count, points), asked)
    for point, reason in list(left_out.items())[:1]:
        more = f", and {len(left_out) - 1} more points" if len(left_out) > 1 else ""
        say(f"left out, since it cannot be sampled: {point.name}{more} ({reason})")
    return plan


def _store(found: "Frontier", pipeline: "Pipeline", out: Path) -> None:
    """Store a frontier with the model; say where it is, or that it is in its folder only."""
    from adm.app.study.frontier.stored import NAME, save
    from adm.models.paths import beside

    path = beside(pipeline.model.path, NAME)
    try:
        save(found, path)
    except OSError as error:
        say(
            f"{path} cannot be written ({error.strerror}); `adm sample --budget` finds this one "
            f"with --frontier {out}"
        )
    else:
        say(f"{path}: `adm sample --budget` reads it")


def _print(found: "Frontier") -> None:
    from adm.app.study.frontier.summary import sentences

    for sentence in sentences(found):
        print(printable(sentence))
