"""Job -> seconds an image, on this machine as it is now."""

import os
import statistics
import time

import torch

from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.runs.processor import described

REPEATS = 3  # measurements of the seconds of one job


def machine_of(device: torch.device) -> str:
    """Return what the speed of a network on this device depends on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = described() if device.type == "cpu" else f"{described()}, {device.type}"
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"


def seconds_of(job: Job, on_step: OnStep | None = None) -> float:
    """Sample one whole block of a job; return the seconds an image.

    The first call of a process also loads kernels, and is to be ignored.
    """
    size = job.generator.block
    labels = _labels(job, size)
    started = time.perf_counter()
    job.generator.images(labels, range(size), on_step=on_step)
    return (time.perf_counter() - started) / size


def seconds_of_call(few: Job, device: torch.device) -> float:
    """Return the seconds of an evaluation for an image, from a job in a few steps.

    The first step, which loads kernels, is left out. On a CPU, one image is sampled, since larger
    batches are hardly faster there, and on other devices a whole block.
    """
    generator, marks = few.generator, list[tuple[float, int]]()

    def mark(evaluations: int) -> None:
        marks.append((time.perf_counter(), evaluations))

    size = 1 if device.type == "cpu" else generator.block
    mark(0)
    generator.images(_labels(few, size), range(size), on_step=mark)
    first = 1 if len(marks) > 2 else 0
    return (marks[-1][0] - marks[first][0]) / sum(number for _, number in marks[first + 1 :])


def _labels(job: Job, size: int) -> torch.Tensor | None:
    """Return labels for so many images, those of the job in turn; None if it has none."""
    labels = job.label_tensor
    return None if labels is None else labels[torch.arange(size) % len(labels)]


def slower(job: Job, before: float) -> float:
    """Return the seconds that sampling takes here for one second of an earlier measurement.

    Args:
        job: of the point that was measured.
        before: its seconds an image.
    """
    seconds_of(job)  # loads kernels
    return statistics.median(seconds_of(job) for _ in range(REPEATS)) / before


def load_note() -> str | None:
    """Return a sentence on other processes that slow the timings down; None if there are none."""
    if not hasattr(os, "getloadavg"):  # not on Windows
        return None
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < 0.5 * cores:
        return None
    return (
        f"Other processes were running when the timings were started (load {load:.1f} on {cores} "
        "cores), which makes them longer and less certain."
    )
