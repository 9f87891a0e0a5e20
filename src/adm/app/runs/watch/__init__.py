"""Steps done, RunState -> figures for the log, pictures in the run folder, warnings."""

from adm.app.runs.watch.compose import PREVIEWS, watching
from adm.app.runs.watch.curves import read_log
from adm.app.runs.watch.times import Times
from adm.app.runs.watch.writers import Writer, tensorboard, wandb, written
from adm.training.loop import Watch

__all__ = [
    "PREVIEWS",
    "Times",
    "Watch",
    "Writer",
    "read_log",
    "tensorboard",
    "wandb",
    "watching",
    "written",
]
