"""Figures, pictures, words -> event files of TensorBoard, an optional extra."""

import math
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adm.extras import installing
from adm.training.loop import Progress


class TensorBoard:
    """Writes event files for `tensorboard --logdir FOLDER`, besides log.jsonl.

    Earlier events of the first step that is written, and of later ones, are purged, so that no step
    of a run that resumes appears twice.

    Args:
        folder: the folder of the event files; it is created with the first event, because the
            folder of a new run must be empty.

    Raises:
        ValueError: the extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        spec = find_spec("tensorboard")
        if spec is None or spec.origin is None:  # a folder of that name is a namespace package
            raise ValueError(
                f"TensorBoard is not installed; run {installing('tensorboard')}, or use only "
                "log.jsonl"
            )
        self.folder, self.first = folder, 0

    @cached_property
    def _service(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder), purge_step=self.first if self.first > 1 else None)

    def _at(self, step: int) -> Any:
        self.first = self.first or step
        return self._service

    def figures(self, step: int, values: dict[str, float]) -> None:
        """Write values by name after a number of steps; those that are not finite are left out."""
        for name, value in values.items():
            if math.isfinite(value):
                self._at(step).add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        """Write a picture of a name after a number of steps."""
        pixels = np.asarray(image.convert("RGB"))
        self._at(step).add_image(name, pixels, step, dataformats="HWC")

    def words(self, step: int, name: str, words: str) -> None:
        """Write a text of a name after a number of steps."""
        self._at(step).add_text(name, words, step)

    def record(self, progress: Iterator[Progress]) -> Iterator[Progress]:
        """Yield from `progress`; write every step's figures, and what is buffered at the end."""
        with closing(self):
            for step in progress:
                speed = {"images_per_second": step.images_per_second}
                self.figures(step.step, step.shown | speed)
                yield step

    def close(self) -> None:
        """Write what is buffered, and end."""
        if self.first:
            self._service.close()
