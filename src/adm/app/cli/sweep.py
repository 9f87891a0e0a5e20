"""adm sweep MODEL --vary NAME=VALUES --reference REF --out DIR -> samples, scores, report.html."""

from typing import TYPE_CHECKING

from adm.app.cli.options import Model
from adm.app.cli.output import AsJson, say, show, table
from adm.app.cli.studies import StudyOptions, Vary

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.study.run import Result

SCALES = "scale=0,0.5,1,2,4,8"


def sweep(
    model: Model, /, *, how: StudyOptions, vary: Vary = (SCALES,), as_json: AsJson = False
) -> None:
    r"""Score samples at several values of any settings, and plot what changes.

    Samples the model at every combination of the values, from the same noise, and scores each set
    of samples; notes the network calls and the seconds of an image, and marks the points that no
    other one beats in both time and the first score. Writes report.html, a single file of figures,
    sample grids and tables; report.csv, report.json, and the figures as PNG; and the samples of
    every point in samples/. An interrupted command resumes when it is run again, and torchrun
    distributes it over several devices.

    Examples:

        adm sweep fashion --reference fashion-mnist --split test --features fashion-judge --out out

        adm sweep fashion --vary scale=0,1,2,4 --vary sampler=ddim,unipc --vary steps=10,25 \
            --reference fashion.npz --out out/samplers

    Parameters
    ----------
    vary
        A setting of sampling and its values, as in scale=0,1,2; may be given several times, and
        with one value for a setting of all points. What follows a colon belongs to one value, as in
        grid=karras:end=3,levels:3,40,980.
    """
    pipeline, devices = how.opened(model)
    from adm.app.study.page import PAGE
    from adm.app.study.study import axis
    from adm.app.study.sweep import score_all

    study = how.study(pipeline, [axis(text) for text in vary])
    result = score_all(study, how.against, how.out, how.extraction(devices))
    if result is not None:
        show(result.to_json, as_json, lambda: _print(result))
        say(f"{how.out / PAGE}: open it in a browser; report.csv has the numbers", as_json)


def _print(result: "Result") -> None:
    """Print the cost and the first score of every point; a star marks what nothing beats."""
    from adm.app.study.page import seconds_text

    points = result.points
    first = next(iter(points[0].scores))
    column = [each.scores[first] for each in points]
    rows = [
        (
            str(point) or result.study.name,
            f"{each.calls.network:,} + {each.calls.classifier:,}",
            seconds_text(each.seconds),
            each.scores[first].text(column),
            "*" if each.unbeaten else "",
        )
        for point, each in zip(result.study.points, points, strict=True)
    ]
    headings = ("point", ">calls", ">seconds an image", f">{first}", "nothing beats it")
    table(rows, headings, "", None)
