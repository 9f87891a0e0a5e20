"""adm frontier MODEL --reference REF --out DIR -> timings, scores, a page, what a budget buys."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from adm.app.cli.options import Model
from adm.app.cli.output import AsJson, say, show
from adm.app.cli.studies import StudyOptions, Vary, bar_of
from adm.shown import printable

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.study.frontier import Frontier
    from adm.app.study.study import Axis
    from adm.generation.pipeline import Pipeline

USUAL = {  # of each setting that --vary does not list; the samplers are the deterministic ones
    "sampler": "sampler=ddim,dpm-solver,unipc,ipndm,splitting",
    "grid": "grid=even,log-snr,karras,searched",
    "steps": "steps=5,8,10,16,25",
    "scale": "scale=0,2",
}
UNGUIDED = "scale=0"


def frontier(
    model: Model,
    /,
    *,
    how: StudyOptions,
    vary: Vary = (),
    trial_count: int = 16,
    keep: int = 8,
    as_json: AsJson = False,
) -> None:
    r"""Measure time against quality on this machine, and recommend settings.

    A point is a combination of sampler, levels, steps and scale. A first pass measures the seconds
    an image of each point, and the error of a few images against those of many steps. The points of
    each scale that are on the frontier of both, and those nearest to it, are then sampled in full
    and scored, as by `adm sweep`. Writes report.html, a single file that ends in the recommended
    settings; report.md, report.json, frontier.json and the figures as PNG; and stores the frontier
    for `adm sample --budget`, with the model, or in the user's folder for a shipped one. An
    interrupted command resumes when it is run again, and torchrun shares the work among several
    processes. Run it on an idle machine: other work lengthens the timings.

    Examples:

        adm frontier runs/digits --reference digits --features inception --out out/frontier

        adm frontier runs/a --classifier runs/a-classifier --reference a.npz --vary scale=0,1,4 \
            --vary steps=5,10,20 --vary sampler=ddim,unipc --count 5000 --out out/frontier

    Parameters
    ----------
    vary
        A setting of sampling and its values, as in steps=5,10; may be given several times, and
        with one value for a setting of all points. Other settings have default values.
        Samplers that add noise have no images to converge to, which the first pass compares
        with: all their points are sampled in full.
    trial_count
        Images of each point in the first pass.
    keep
        Points of each scale that are sampled in full; more if the frontier of the first pass has
        more. Those whose sampler adds noise are sampled in addition.
    """
    pipeline, devices = how.opened(model)
    from adm.app.study.page import PAGE, best_and_fast, recommendations, write
    from adm.app.study.scoring import scoring_of
    from adm.app.study.trial import Trial, run_promising

    listed, axes = _axes(pipeline, vary)
    study, reasons = how.study(pipeline, axes).possible(listed)
    study.check()
    for point, reason in list(reasons.items())[:1]:
        more = f", and {len(reasons) - 1} more points" if len(reasons) > 1 else ""
        say(f"left out, since it cannot be sampled: {point}{more} ({reason})")
    few = min(trial_count, how.count)
    trial = Trial(study, pipeline.schedule.last, few, how.out, devices)
    with scoring_of(study, how.against, how.out, how.extraction(devices)) as scoring:
        result = run_promising(
            trial, scoring, keep=keep, batch_size=how.batch_size, bar=bar_of(devices)
        )
        if result is not None:
            assert result.frontier is not None
            write(result, how.out, recommendations(result.frontier, how.words(model)))
    if result is not None and (measured := result.frontier) is not None:
        _store(measured, pipeline, how.out)
        sentences = [printable(sentence) for sentence in best_and_fast(measured)]
        show(lambda: asdict(measured), as_json, lambda: print("\n".join(sentences)))
        say(f"{how.out / PAGE}: open it in a browser; report.md has the tables", as_json)


def _axes(pipeline: "Pipeline", vary: tuple[str, ...]) -> tuple[set[str], "list[Axis]"]:
    """Return the names of the settings listed, and all axes: others first, then the usual ones."""
    from adm.app.study.study import axis

    varied = {each.name: each for each in map(axis, vary)}
    usual = USUAL if pipeline.guide else USUAL | {"scale": UNGUIDED}
    others = [each for name, each in varied.items() if name not in usual]
    return {*varied}, [*others, *(varied.get(name) or axis(usual[name]) for name in usual)]


def _store(measured: "Frontier", pipeline: "Pipeline", out: Path) -> None:
    """Store a frontier for `adm sample`; report its path, or that it cannot be written."""
    from adm.app.study.frontier import FILE, NAME, save
    from adm.models.paths import measurement

    path = measurement(pipeline.model.path, NAME)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(measured, path)
    except OSError as error:
        say(
            f"{path} cannot be written ({error.strerror}), where `adm sample --budget` reads it; "
            f"copy {out / FILE} to a place of this name"
        )
    else:
        say(f"{path}: `adm sample --budget` reads it")
