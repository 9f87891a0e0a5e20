"""adm reproduce ROW --out DIR -> samples of a published row, their scores, and a verdict."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli.options import FLAG, THEIR_FEATURES, Device
from adm.app.cli.output import OUT, say
from adm.app.cli.sampling import USUAL
from adm.app.cli.scoring import extraction_of, joined, with_cache
from adm.spec import SettingError

if TYPE_CHECKING:
    from adm.app.study.reproduce import Row
    from adm.generation.job import Job

FEW = 3  # steps that are measured
STAND_IN = Parameter(group="Of a stand-in")


def reproduce(
    row: str | None = None,
    /,
    *,
    out: Annotated[Path | None, OUT] = None,
    dry_run: Annotated[bool, FLAG] = False,
    seed: int = 0,
    batch_size: int = 64,
    device: Device = None,
    count: Annotated[int | None, STAND_IN] = None,
    model: Annotated[str | None, STAND_IN] = None,
    classifier: Annotated[str | None, STAND_IN] = None,
    upsampler: Annotated[str | None, STAND_IN] = None,
    reference: Annotated[str | None, STAND_IN] = None,
    features: Annotated[str | None, THEIR_FEATURES, STAND_IN] = None,
) -> None:
    """Sample and score a row of the paper's tables, and compare.

    Prints the plan, and the hours on this machine and the space on the disk by a measurement of a
    few steps. Then it samples 50,000 images, scores them against the released reference batch, and
    writes page.html and report.json: the published scores, ours, and whether they agree. An
    interrupted command resumes when it is run again; torchrun distributes it.

    Examples:

        adm reproduce

        adm reproduce imagenet64 --dry-run

        torchrun --nproc-per-node 8 -m adm reproduce imagenet256-guided --out out/imagenet256

    Parameters
    ----------
    row
        Row to reproduce; without it, all rows are listed.
    out
        Folder to write.
    dry_run
        Print the plan with its cost, and stop.
    seed
        Random seed. Each image depends on the seed and its index only.
    batch_size
        Images per batch of the features. It affects them only by rounding.
    count
        Number of images in place of 50,000.
    model, classifier, upsampler, reference, features
        Replaces that of the row. The verdict then states that it is not comparable.
    """
    from adm.app.study import reproduce as study
    from adm.app.study.timing import seconds_of_call
    from adm.generation.pipeline import load
    from adm.scoring import evaluate
    from adm.store.files import write_json, write_text

    if row is None:
        for name, each in study.ROWS.items():
            numbers = f"FID {each.published['frechet']}"
            print(f"{name:30}{each.title:42}{numbers:12}{each.source}")
        return
    if row not in study.ROWS:
        raise SettingError("row", f"one of {', '.join(study.ROWS)}", row)
    if out is None and not dry_run:
        raise SettingError("out", "given, unless {dry_run} stops before anything is written")
    replaced = {"model": model, "upsampler": upsampler, "reference": reference}
    chosen = replace(
        study.ROWS[row], **{key: each for key, each in replaced.items() if each is not None}
    )
    options = replaced | {"classifier": classifier, "features": features}
    differing = [f"--{key} {each}" for key, each in options.items() if each is not None]
    devices = joined(device)
    pipeline = load(chosen.model, classifier, chosen.upsampler, devices.device)
    number = study.COUNT if count is None else count
    if number != study.COUNT:
        differing.append(f"{number:,} images in place of {study.COUNT:,}")
    settings: dict[str, Any] = {**chosen.settings, "seed": seed}
    job = pipeline.job(None, number, **settings)
    short = {key: each for key, each in settings.items() if key != "grid"}
    larger = FEW if chosen.upsampler is not None else None
    few = pipeline.job(None, number, upsampler_steps=larger, steps=FEW, **short)
    seconds = seconds_of_call(few, devices.device)
    if devices.main:
        _say(chosen, job, seconds, devices.world)
    if dry_run:
        return
    assert out is not None
    USUAL.write(out / "samples", job, f"sampling {job.count:,} images", devices)
    extracting = extraction_of(devices, batch_size)
    with with_cache(extracting, out / "report.json") as extraction:
        scored = evaluate(
            str(out / "samples"), chosen.reference, features or "inception", extraction=extraction
        )
    if devices.main:
        reproduction = study.Reproduction(chosen, scored, differing)
        write_json(out / "report.json", reproduction.to_json())
        write_text(out / "page.html", reproduction.page())
        for each in reproduction.verdicts:
            ours, printed = f"{each.ours.value:.4g}", f"{float(each.published):g}"
            say(f"{reproduction.title(each)}: {ours}, published {printed}: {each.outcome}")
        say(reproduction.conclusion)
        say(f"{out / 'page.html'}: open it to see the comparison")


def _say(row: "Row", job: "Job", seconds: float, processes: int) -> None:
    """Print the plan, and its cost on this machine by the seconds of an evaluation."""
    settings = ", ".join(f"{key}={value}" for key, value in row.settings.items())
    say(f"{row.title} ({row.source}): {row.model}{f', {settings}' if settings else ''}")
    if row.upsampler is not None:
        say(f"enlarged by {row.upsampler}")
    if row.note:
        say(row.note)
    hours, size = job.evaluations * seconds / processes / 3600, math.prod(job.generator.shape)
    share = f" in {processes} processes" if processes > 1 else ""
    files = 3 * job.count * size  # bytes at most: the archive, its parts, and PNG files
    say(
        f"{job.count:,} images, {job.evaluations // job.count:,} network evaluations each: "
        f"about {hours:,.1f} hours{share} at {seconds:.3g} s an evaluation, and "
        f"{files / 1e9:,.1f} GB on the disk; then scored against {row.reference}"
    )
