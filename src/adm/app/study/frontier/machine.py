"""torch.device -> Machine; Job -> seconds an image, measured on one block."""

import os
import statistics
import time
from collections.abc import Sequence

import torch

from adm.app.study.frontier.stored import Machine, Timing
from adm.generation.generate import block_of
from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.processor import described

REPEATS = 3  # measurements of one point


def machine_of(device: torch.device) -> Machine:
    """Return what the speed of a network on this device depends on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = described() if device.type == "cpu" else f"{described()}, {device.type}"
    return Machine(name, torch.get_num_threads(), torch.__version__)


def seconds_of(job: Job, on_step: OnStep | None = None) -> float:
    """Sample one whole block of a job; return the seconds an image.

    The first call on a process also loads kernels, and is to be ignored.
    """
    size = block_of(job.generator)
    labels = job.label_tensor
    if labels is not None:
        labels = labels[torch.arange(size) % len(labels)]
    started = time.perf_counter()
    job.generator.images(labels, range(size), on_step=on_step)
    return (time.perf_counter() - started) / size


def timing(seconds: Sequence[float]) -> Timing:
    """Return the median of several measurements, and their spread."""
    return Timing(statistics.median(seconds), min(seconds), max(seconds), len(seconds))


def slower(job: Job, before: Timing) -> float:
    """Return the seconds that sampling takes here for one second of an earlier measurement.

    Args:
        job: of the point that was measured.
    """
    seconds_of(job)  # loads kernels
    return timing([seconds_of(job) for _ in range(REPEATS)]).median / before.median


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
