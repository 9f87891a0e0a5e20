"""Job -> the same job with the seconds of its images, as a machine samples them."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.runs.processor import describe_processor

clock = time.perf_counter


@dataclass(frozen=True)
class Timing:
    """How long an image takes among others.

    Attributes:
        seconds: that it takes.
        machine: which sampled it.
    """

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    machine: str


@dataclass(frozen=True, eq=False)
class TimedJob(Job):
    """A job that notes how long its images take.

    Attributes:
        seconds: of an image, in each block that this process has sampled.
    """

    seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, job: Job) -> "TimedJob":
        return cls(job.generator, job.labels, job.count, job.inputs, job.source)

    def images(self, indices: Sequence[int], on_step: OnStep | None = None) -> Tensor:
        began = clock()
        images = super().images(indices, on_step)
        # A block takes as long for one of its images as for all.
        blocks = math.ceil(len(indices) / self.generator.block)
        self.seconds.append((clock() - began) / (blocks * self.generator.block))
        return images

    @property
    def shortest(self) -> float:
        """Seconds of an image in the fastest block, which other work has delayed least.

        Infinity before the first; that of a process may load kernels.
        """
        return min(self.seconds, default=math.inf)

    def measure(self) -> float:
        """Return `shortest`, of one block that is sampled for it if there is none yet."""
        if not self.seconds:
            self.images(range(min(self.count, self.generator.block)))
        return self.shortest


def machine_of(device: torch.device) -> str:
    """Return what the speed of a network on this device depends on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = describe_processor() + ("" if device.type == "cpu" else f", {device.type}")
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"
