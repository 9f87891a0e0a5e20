"""uint8 images -> cheap features; sources of images, and threads that act as ranks."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adm.data import Source
from adm.data.source import in_memory
from adm.features import Extracted, Features
from adm.features.contract import make_features
from adm.processes import Devices

NAMES = ("circle", "square", "star")
OnExtract = Callable[[Tensor], None]


def blocks(name: str = "blocks", on_extract: OnExtract | None = None) -> Features:
    """Means of a 4 x 4 grid, the grid's upper half as features with places, and six logits."""
    to_logits = torch.randn(16, 6, generator=torch.Generator().manual_seed(5)) / 20

    def extract_rows(images: Tensor) -> Extracted:
        if on_extract is not None:
            on_extract(images)
        grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 4)
        pool = grid.flatten(1)
        return Extracted(pool, grid[:, :, :2].flatten(1) / 10, pool @ to_logits)

    return make_features(name, 16, extract_rows, f"{name}-1", "cpu")


def spots(
    count: int, seed: int = 0, shift: int = 0, size: int = 8, classes: int = 3, channels: int = 1
) -> Source:
    """Noise around a level set by the class; labels take turns."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 90, (count, channels, size, size), generator=generator) + shift
    images += 60 * labels[:, None, None, None]
    return in_memory("spots", NAMES[:classes], images.clamp(0, 255).to(torch.uint8), labels)


def select(source: Source, rows: np.ndarray | list[int]) -> Source:
    """The images of these rows, in this order."""
    images, labels = source.batch([int(row) for row in rows])
    return in_memory(source.name, source.classes, images, labels)


@dataclass
class Meeting:
    """Where threads that act as processes exchange values."""

    world: int
    values: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.world, timeout=60)


@dataclass(frozen=True, eq=False)
class InThread(Devices):
    """One of several threads that act as processes."""

    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def gather(self, value: Any) -> list[Any]:
        self.meeting.values[self.rank] = value
        self.meeting.barrier.wait()
        values = [self.meeting.values[rank] for rank in range(self.world)]
        self.meeting.barrier.wait()
        return values


def together(world: int, act: Callable[[Devices], Any]) -> list[Any]:
    """Each thread's return value, or the exception that ended it."""
    meeting, outcomes = Meeting(world), [None] * world

    def run(rank: int) -> None:
        try:
            outcomes[rank] = act(InThread(torch.device("cpu"), rank, world, meeting=meeting))
        except Exception as error:
            outcomes[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
