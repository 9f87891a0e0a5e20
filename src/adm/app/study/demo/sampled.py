"""Job, cache folder -> images, and how long they took."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from adm.cached import Cached
from adm.generation.folder import holds, sample_into
from adm.generation.job import Job
from adm.store.files import work_path


def sampled(
    job: Job, place: Path, on_step: Callable[[int], None] | None = None
) -> tuple[Tensor, float | None]:
    """Sample into a folder, or read the images of an earlier call from it.

    Args:
        place: sample folder; finished batches are kept beside it, so that the same call resumes.
        on_step: called after every step with the number of images in the block.

    Returns:
        (N, C, H, W) uint8 in memory, and the seconds that sampling took; None instead of them if
        some of it was done by an earlier call.
    """
    begun, started = place.exists() or work_path(place).exists(), time.monotonic()
    if on_step is not None and holds(place, job):
        on_step(Cached(job.evaluations))
    # With the strides of images in memory, which the judge's kernels depend on.
    mapped = sample_into(place, job, on_step=on_step)
    images = mapped.clone(memory_format=torch.contiguous_format)
    return images, None if begun else time.monotonic() - started
