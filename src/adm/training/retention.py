"""Run folder, Policy -> the checkpoints that stay: the newest, the best, regular ones."""

import shutil
from contextlib import suppress
from pathlib import Path

from adm.store.files import clear, link
from adm.training import posthoc
from adm.training.checkpoint import sound, states_of
from adm.training.finished import FOLDER, finished, step_of
from adm.training.parts import ASIDE
from adm.training.settings import Policy
from adm.training.state import FILE

BEST = "best"  # a link to the checkpoint with the lowest validation loss


def best(run: Path) -> Path | None:
    """Return the checkpoint with the lowest validation loss; None if none was validated."""
    scored = [
        (state.validation, folder)
        for folder, state in states_of(run).items()
        if state.validation is not None
    ]
    return min(scored)[1] if scored else None


def prune(run: Path, policy: Policy) -> None:
    """Remove the checkpoints that `policy` does not keep.

    The newest checkpoint, and the newest one whose last step was finite, are always kept. One off
    the schedule, which only an interruption saves, is removed once a newer one exists.
    """
    found = finished(run)
    steps = {folder: step_of(folder) or 0 for folder in found}
    regular = [f for f in found[:-1] if policy.regular(steps[f])]
    kept = {found[-1], *(regular[-(policy.last - 1) :] if policy.last > 1 else ())}
    if policy.every is not None:
        kept |= {folder for folder in found if steps[folder] % policy.every == 0}
    if (good := sound(run)) is not None:
        kept.add(good)
    winner = best(run) if policy.best else None
    if winner is not None:
        kept.add(winner)
    _link(run / FOLDER / BEST, winner)
    for folder in set(found) - kept:
        (folder / FILE).unlink()  # first: without it, a partial folder is no checkpoint
    for folder in (run / FOLDER).glob("*step-*"):
        if folder not in kept and _is_left(folder, steps[found[-1]]):
            shutil.rmtree(folder)
    posthoc.thin(run, policy.regular, steps[found[-1]])


def _is_left(folder: Path, newest: int) -> bool:
    """Whether a folder is a part of a checkpoint, or a damaged one that was made again."""
    if folder.name.startswith("."):
        return folder.suffix == ".part"  # of an interrupted save
    if not folder.is_dir() or folder.is_symlink():
        return False
    step = step_of(folder.with_name(folder.name.removeprefix(ASIDE)))
    return step is not None and (step <= newest or not folder.name.startswith(ASIDE))


def _link(path: Path, target: Path | None) -> None:
    """Point the link at a folder beside it, or remove the link."""
    if target is None:
        clear(path)
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):  # without links, `best` reads the checkpoints' own numbers
        link(path, target.name)
