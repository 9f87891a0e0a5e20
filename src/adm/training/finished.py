"""Run folder -> its complete checkpoints, without loading torch."""

import re
from pathlib import Path

from adm.training.state import FILE

RUN, FOLDER = "run.json", "checkpoints"  # in a run folder
GENERATOR = "generator"  # the player that is the model of a GAN; its folder in a checkpoint
NUMBER = re.compile(r"step-(\d{7,12})")


def step_folder(step: int) -> str:
    """Return the name of the checkpoint after `step` steps."""
    return f"step-{step:07d}"


def step_of(folder: Path) -> int | None:
    """Return the step of a checkpoint by the name of its folder; None for another folder."""
    match = NUMBER.fullmatch(folder.name)
    step = None if match is None else int(match[1])
    return step if step is not None and folder.name == step_folder(step) else None


def finished(run: Path) -> list[Path]:
    """Return all complete checkpoints of a run, oldest first.

    One is complete if it has its final name, as its files are written under another, and a
    state.json, which is the first to go when it is removed.
    """
    found = {
        folder: step
        for folder in (run / FOLDER).glob("step-*")
        if (step := step_of(folder)) is not None and (folder / FILE).is_file()
    }
    return sorted(found, key=found.__getitem__)


def latest(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    found = finished(run)
    return found[-1] if found else None
