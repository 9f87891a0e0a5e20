"""steps done, a run's state -> figures for its log, pictures in its folder, warnings."""

from adm.training.loop import Watch
from adm.watch.compose import PREVIEWS, watching
from adm.watch.curves import read_log
from adm.watch.looks import Times
from adm.watch.writers import Writer, tensorboard, wandb, written

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
