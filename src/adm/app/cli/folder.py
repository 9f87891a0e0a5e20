"""Job, Output -> sample folder, with its progress and its files printed."""

from pathlib import Path

from adm.app.cli.output import say
from adm.app.cli.sampling import Output
from adm.generation.animation import cost
from adm.generation.folder import add_animation, holds, sample_into, sample_share
from adm.generation.job import Job
from adm.processes import Devices
from adm.progress import progress
from adm.shown import abbreviated, count_of
from adm.spec import SettingError
from adm.store.samples import ANIMATION, ARCHIVE, MANIFEST, SHEET
from adm.store.work import Share

MOST_NAMED = 8  # parts in a message


def write(out: Path, job: Job, output: Output, title: str, devices: Devices) -> None:
    """Sample a job, or a share of it, unless `out` holds it; print the files."""
    share = None if output.part is None else Share.parse(output.part)
    if share is not None and devices.world > 1:
        raise SettingError("part", "{} and torchrun each distribute the images; leave one out")
    if share is not None and output.overwrite:  # each would replace what another has finished
        raise SettingError("overwrite", "{} and {part} exclude each other; remove the folder first")
    done = devices.once(lambda: not output.overwrite and holds(out, job))
    filmed = output.animate and not (done and (out / ANIMATION).is_file())
    total = (0 if done else job.evaluations) + (cost(job) if filmed else 0)
    what, shown = f"drawing {ANIMATION}" if done else title, devices.main and total > 0
    # Opening a finished folder as well removes the leftovers of a killed process beside it.
    with progress(what, total, "network evaluations", shown=shown) as advance:
        if share is None:
            sample_into(out, job, devices=devices, on_step=advance, overwrite=output.overwrite)
            missing = []
        else:
            missing = sample_share(out, job, share, on_step=advance)
        whole = not missing and (out / MANIFEST).is_file()
        if output.animate and devices.main and whole:
            add_animation(out, job, advance)
    if not devices.main:
        return
    if share is not None and not done and not whole:
        say(f"part {share} of {out} is done; {_left(job, share, missing)}")
        return
    if done:
        say(f"{out} is complete: it holds these images; add --overwrite to sample again")
    else:
        guided = f"guided by {by}" if (by := job.generator.guidance) else "not guided"
        say(f"{out}: {count_of(job.count, 'image')}, {ARCHIVE}, {MANIFEST}")
        say(f"each image took {job.cost}, {guided}")
    if output.animate:
        say(f"{out / ANIMATION}: the images at every step, from noise to sample")
    say(f"{out / SHEET}: open it to see the samples")


def _left(job: Job, share: Share, missing: list[range]) -> str:
    """Describe which images are missing, and in which parts."""
    if not missing:
        return "another process writes the folder, or the same command without --part does"
    numbers = sorted({span.start // job.generator.block % share.of + 1 for span in missing})
    parts = abbreviated([f"{each}/{share.of}" for each in numbers], MOST_NAMED)
    return (
        f"{sum(map(len, missing)):,} of {count_of(job.count, 'image')} are missing beside it: run "
        f"--part {parts}, or copy what is in their folders *.parts into the one beside it"
    )
