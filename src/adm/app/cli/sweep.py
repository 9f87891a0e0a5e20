"""adm sweep MODEL --reference REF --out DIR -> sweep folder: samples, scores, report.html."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adm.app.cli import lists, places, points
from adm.app.cli.contrasts import NONE, ContrastOptions
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.progress import progress
from adm.app.cli.sampling import SamplingOptions
from adm.app.cli.scoring import joined, reference_data, scorers_for

SCALES = {  # by what they are of
    "scale": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
    "free-scale": (1.0, 1.5, 2.0, 3.0, 4.0),
    "weak-scale": (1.0, 1.25, 1.5, 2.0, 3.0),
    "attention-scale": (0.0, 0.5, 1.0, 2.0, 4.0),
    "truncation": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0),
}
Axis = Literal["scale", "free-scale", "weak-scale", "attention-scale", "truncation"]


def sweep(
    model: str,
    /,
    *,
    reference: Annotated[tuple[str, ...], lists.names("a.npz,b.npz")],
    out: Annotated[Path, OUT],
    classifier: str | None = None,
    scales: Annotated[tuple[float, ...] | None, lists.numbers("0,1,2")] = None,
    axis: Axis = "scale",
    guide_interval: Annotated[tuple[int, ...] | None, lists.whole_numbers("100,700")] = None,
    guide_every: int | None = None,
    contrasts: ContrastOptions = NONE,
    count: int = 1000,
    features: Annotated[tuple[str, ...] | None, lists.names("efficientnet-lite0")] = None,
    resize: str | None = None,
    samplers: Annotated[tuple[str, ...] | None, lists.names("ddim,ancestral")] = None,
    steps: Annotated[tuple[int, ...] | None, lists.whole_numbers("10,25")] = None,
    classes: Annotated[tuple[str, ...] | None, lists.CLASSES] = None,
    proportions: str | None = None,
    without_label: Annotated[bool, Parameter(negative="")] = False,
    judge: str | None = None,
    split: str = "train",
    seed: int = 0,
    eta: float | None = None,
    spacing: str | None = None,
    start: int | None = None,
    end: float | None = None,
    rounding: str | None = None,
    batch_size: int = 64,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Score samples at several guidance scales, and plot the trade-off of fidelity and diversity.

    Samples the model at every combination of scale, sampler and steps, from the same noise, and
    scores each set of samples. Writes report.html, a single file of figures, sample grids and
    tables; report.md, report.json, and the figures as PNG; and the samples of every point in
    samples/. An interrupted command resumes when it is run again, and torchrun distributes it over
    several devices.

    Examples:

        adm sweep fashion --reference fashion-mnist --split test --features fashion-judge --out out

        adm sweep fashion --without-label --scales 0,1,2,4,8,16 --reference fashion.npz --out out

        adm sweep fashion --axis free-scale --scales 1,2,4 --reference fashion.npz --out out/free

        adm sweep runs/biggan --axis truncation --reference fashion.npz --out out/truncation

        adm sweep 64x64_diffusion.pt --classifier 64x64_classifier.pt --reference imagenet64.npz \
            --samplers ddim,ancestral --steps 25,100,250 --count 10000 --out adm-g

        torchrun --nproc-per-node 8 -m adm sweep runs/a --classifier runs/a-classifier \
            --reference a.npz b.npz --out out/a

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion.
    reference
        References to score samples against: files of `adm reference`, one for each of the features;
        or data, from which references are computed once and stored in the sweep folder, at the size
        of the samples. Several are separated by commas or spaces.
    out
        Sweep folder to write or to resume.
    classifier
        Classifier that guides: a path or a shipped name. By default the one that belongs to the
        model. One of clean images guides through the model's estimate of the image.
    scales
        Guidance scales to sample at, separated by commas or spaces. By default 0,0.5,1,2,4,8 for a
        classifier, where 0 is no guidance, and fewer, from none on, for another --axis.
    axis
        What the scales are of: a classifier, guidance that needs none, or the truncation of a GAN's
        noise, of which 4 leaves nearly all of it.
    guide_interval
        Lowest and highest noise level of guidance, in 0..T, as in 100,700; all levels by default.
    guide_every
        Evaluate the classifier at every second, third, ... level only, and reuse its gradient in
        between.
    count
        Images per point. Distances of few images are biased, and comparable within one sweep only.
    features
        Features to compare images by: inception, efficientnet-lite0, dinov2, a classifier's file or
        module:function, separated by commas or spaces. Those of the references by default, if they
        come with adm.
    resize
        For samples of another size than those of a reference: to-reference resizes them; none
        leaves them to the preprocessing of the features.
    samplers
        Samplers, separated by commas or spaces: ancestral and ddim (those of the paper), ipndm and
        splitting (few steps), dpm-solver and unipc (few steps and weak guidance), heun (two network
        evaluations a step); the recipe's sampler by default.
    steps
        Noise levels visited, one number or several; the recipe's value by default.
    classes
        Classes to sample, in turn: names, separated by commas or spaces. By default all.
    proportions
        List of labels, such as one of adm cluster, whose proportions of classes the images get.
    without_label
        Do not pass the class to the diffusion model; only the classifier guides.
    judge
        Classifier of clean images whose accuracy on the samples is reported as well.
    split
        Split of the reference, if it is data: train or test.
    seed
        Random seed. Each image depends on the seed and its index only.
    eta
        DDIM only: noise added at each step, from 0 (deterministic) to 1 (as in ancestral sampling).
    spacing
        Spacing of the levels: even, strided (the released DDIM spacing), quadratic, ddim_quadratic,
        log_snr or karras.
    start
        Noisiest level that sampling visits.
    end
        Least noisy level that sampling visits, for log_snr and karras.
    rounding
        Rounding to 8 bits: nearest, or truncated as in the released system.
    batch_size
        Images that are sampled between two saves, rounded up to whole blocks, which affects no
        image; and images per batch of the features, which affects scores only by rounding.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    as_json
        Print summaries and all scores as one JSON document.
    """
    wanted = tuple(sorted(SCALES[axis] if scales is None else scales))
    setting, strongest = axis.replace("-", "_"), max(wanted, key=abs)
    how = SamplingOptions(
        classifier=classifier,
        scale=abs(strongest) if axis == "scale" else None,
        truncation=strongest if axis == "truncation" else None,
        contrasts=points.along(contrasts, setting, strongest),
        guide_interval=guide_interval,
        guide_every=guide_every,
        device=device,
        eta=eta,
        seed=seed,
        spacing=spacing,
        start=start,
        end=end,
        without_label=without_label,
        rounding=rounding,
    )
    places.resumable(out, "a sweep needs")
    # Imported here, so that --help does not load torch.
    from adm.app.scoring import Extraction
    from adm.app.study.page import write
    from adm.app.study.run import alone, evaluations, run
    from adm.app.study.scoring import Scoring
    from adm.app.study.summary import as_json as to_json
    from adm.models.load import load_classifier

    devices = joined(device)
    extraction = Extraction(devices, batch_size)
    how = replace(how, device=str(devices.device))
    listed = samplers, steps, wanted
    pipeline = how.pipeline(model)
    chosen = points.labels(pipeline.classes, lists.joined(classes), proportions, count)
    plan = points.plan(pipeline, how, setting, listed, chosen, count)
    plan.check()
    judge_model = load_classifier(judge, devices.device) if judge else None
    data = reference_data(reference[0], split, pipeline.shape)
    with alone(out, devices):
        scorers = scorers_for(reference, features, data, out, extraction)
        scoring = Scoring(
            [replace(scorer, resize=resize) for scorer in scorers],
            judge_model,
            points.judge_labels(judge_model, plan),
        )
        total = evaluations(plan, scoring, devices)
        bar = progress("sampling and scoring", total, "network evaluations")
        with bar if devices.main else nullcontext() as advance:
            result = run(
                plan, scoring, out, devices=devices, batch_size=batch_size, on_evaluations=advance
            )
        if result is not None:
            write(result, out)
    if result is not None:
        finished = result
        show(lambda: to_json(finished), as_json, lambda: None)
        say(f"{out / 'report.html'}: open it in a browser; report.md has the tables", as_json)
