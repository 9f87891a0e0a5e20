"""Run folder, Policy -> the checkpoints that stay: the newest, the best, regular ones."""

import math
import shutil
from contextlib import suppress
from pathlib import Path

from adm.files import link
from adm.training import posthoc
from adm.training.checkpoint import finished, numbers, sound
from adm.training.settings import Policy

BEST = "best"  # a link to the checkpoint of the best validation


def best(run: Path) -> Path | None:
    """The kept checkpoint of the lowest validation loss, if any was validated."""
    scored = [
        (value, folder)
        for folder in finished(run)
        if (value := numbers(folder).validation) is not None and math.isfinite(value)
    ]
    return min(scored)[1] if scored else None


def prune(run: Path, policy: Policy) -> None:
    """Remove what is not to be kept; checkpoints off the schedule go when a newer one is there."""
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
        (folder / "state.json").unlink()  # first, so that a kill leaves no half that looks whole
    for pattern in ("step-*", ".step-*.part"):  # the second from a kill while saving
        for folder in (run / "checkpoints").glob(pattern):
            if folder not in kept:
                shutil.rmtree(folder)
    posthoc.thin(run, policy.regular, steps[found[-1]])


def _link(path: Path, target: Path | None) -> None:
    """Have the link name this neighbour, or be gone."""
    if target is None:
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):  # no links here: the checkpoints' own numbers tell which is best
        link(path, target.name)
