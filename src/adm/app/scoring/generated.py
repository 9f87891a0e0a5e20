"""Job -> Source of its images, which are sampled when they are read, and stored nowhere."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adm.data import Source
from adm.generation.job import Job, LowRes


def generated(job: Job, name: str = "samples") -> Source:
    """Return the images of a job, sampled batch by batch as they are read.

    They are those of a sample folder of the job, of which no batch is in memory once it was used.
    """
    labels = job.label_tensor
    return Source(
        name,
        ("all",) if labels is None else job.generator.classes,
        torch.zeros(job.count, dtype=torch.int64) if labels is None else labels,
        read=lambda index: _images(job, [index])[0],
        read_many=lambda indices: _images(job, indices),
    )


def _images(job: Job, indices: Sequence[int]) -> Tensor:
    """Sample some images of a job: (B, C, H, W) uint8."""
    low = None
    if isinstance(job.low_res, Job):
        low = _images(job.low_res, indices)
    elif isinstance(job.low_res, LowRes):
        low = job.low_res.images[[*indices]]
    labels = None if job.labels is None else torch.tensor([job.labels[i] for i in indices])
    return job.generator.images(labels, indices, low)
