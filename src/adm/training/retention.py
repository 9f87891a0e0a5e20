"""Run folder, Policy -> the checkpoints that stay: the newest, the best, regular ones."""

import math
import shutil
from contextlib import suppress
from pathlib import Path

from adm.files import link
from adm.training import posthoc
from adm.training.checkpoint import finished, numbers, sound
from adm.training.settings import Policy

BEST = "best"  # a link to the checkpoint with the lowest validation loss


def best(run: Path) -> Path | None:
    """Return the checkpoint with the lowest validation loss; None if none was validated."""
    scored = [
        (value, folder)
        for folder in finished(run)
        if (value := numbers(folder).validation) is not None and math.isfinite(value)
    ]
    return min(scored)[1] if scored else None


def prune(run: Path, policy: Policy) -> None:
    """Remove the checkpoints that `policy` does not keep.

    The newest checkpoint, and the newest one whose last step was finite, are always kept. One off
    the schedule, which only an interruption saves, is removed once a newer one exists.
    """
    found = finished(run)
    steps = {folder: int(folder.name.removeprefix("step-")) for folder in found}
    regular = [f for f in found[:-1] if policy.regular(steps[f])]
    kept = {found[-1], *(regular[-(policy.last - 1) :] if policy.last > 1 else ())}
    if policy.every is not None:
        kept |= {folder for folder in found if steps[folder] % policy.every == 0}
    if (good := sound(run)) is not None:
        kept.add(good)
    winner = best(run) if policy.best else None
    if winner is not None:
        kept.add(winner)
    _link(run / "checkpoints" / BEST, winner)
    for folder in set(found) - kept:
        (folder / "state.json").unlink()  # first: without it, a partial folder is no checkpoint
    for pattern in ("step-*", ".step-*.part"):  # the second kind: an interrupted save
        for folder in (run / "checkpoints").glob(pattern):
            if folder not in kept:
                shutil.rmtree(folder)
    posthoc.thin(run, policy.regular, steps[found[-1]])


def _link(path: Path, target: Path | None) -> None:
    """Point the link at a folder beside it, or remove the link."""
    if target is None:
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):  # without links, `best` reads the checkpoints' own numbers
        link(path, target.name)
