"""Generator, labels, count -> Job; Job -> Chain, the jobs of a cascade with their images."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias, TypeVar, Union

import torch
from torch import Tensor

from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generate import check_low_res
from adm.generation.generator import Cost, Generator
from adm.store.hashes import sha256_of


class Images(Protocol):
    """(N, C, H, W) uint8: a tensor, or images on disk that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: slice | list[int], /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class LowRes:
    """Images that an upsampler starts from.

    Attributes:
        images: (N, C, h, w) uint8.
        source: description of their origin, for the manifest.

    Raises:
        ValueError: the images have another type or number of dimensions.
    """

    images: Tensor
    source: str

    def __post_init__(self) -> None:
        given: object = self.images
        if isinstance(given, Tensor) and given.dtype == torch.uint8 and given.ndim == 4:
            return
        got = type(given).__name__
        if isinstance(given, Tensor):
            got = f"{given.dtype} of shape {tuple(given.shape)}"
        raise ValueError(f"low_res must be a uint8 tensor of shape (N, C, h, w), got {got}")

    def manifest(self) -> dict[str, Any]:
        """Source, shape and SHA-256 of the images, as JSON values."""
        shape = list(self.images.shape)
        pixels = self.images.contiguous().numpy().tobytes()
        return {"source": self.source, "shape": shape, "sha256": sha256_of(pixels)}


@dataclass(frozen=True, eq=False)
class Job:
    """The images that one call is to make; their indices are 0..count - 1.

    Attributes:
        generator: makes the images.
        labels: one per image, or None for an unconditional generator.
        count: number of images.
        low_res: what an upsampler starts from: images, or a job of `count` images; None for any
            other generator.

    Raises:
        ValueError: `low_res` has not the shape or the number of images that the generator needs.
    """

    generator: Generator
    labels: list[int] | None
    count: int
    low_res: Union[LowRes, "Job", None] = None

    def __post_init__(self) -> None:
        shape, count, maker = None, self.count, None
        if isinstance(self.low_res, Job):
            maker, count = self.low_res.generator, self.low_res.count
            shape = maker.shape
        elif self.low_res is not None:
            shape, count = self.low_res.images.shape[1:], len(self.low_res.images)
        check_low_res(self.generator, shape, maker)
        if count != self.count:
            raise ValueError(
                f"low_res has {count} images, expected {self.count}; give one per image"
            )

    @property
    def label_tensor(self) -> Tensor | None:
        """(count,) int64; None for an unconditional generator."""
        return None if self.labels is None else torch.tensor(self.labels)

    @property
    def evaluations(self) -> int:
        """Network evaluations for all images, those of the first job of a cascade included."""
        base = self.low_res.evaluations if isinstance(self.low_res, Job) else 0
        return self.count * self.generator.evaluations + base

    @property
    def cost(self) -> Cost:
        """Calls of the networks per image, those of the first job of a cascade included."""
        made = self.generator
        own = made.cost if isinstance(made, DiffusionGenerator) else Cost(made.evaluations)
        return own + self.low_res.cost if isinstance(self.low_res, Job) else own

    def manifest(self) -> dict[str, Any]:
        """Everything that the images depend on, as JSON values."""
        return {
            **self.generator.manifest(),
            "count": self.count,
            "labels": self.labels,
            "classes": list(self.generator.classes),
            "low_res": None if self.low_res is None else self.low_res.manifest(),
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest: jobs of one fingerprint have the same images."""
        return sha256_of(json.dumps(self.manifest(), sort_keys=True).encode())


SomeImages = TypeVar("SomeImages", bound=Images)
# A job with its images, then the job that it started from with its own, and so on.
Chain: TypeAlias = Sequence[tuple[Job, Images]]


def chained(
    job: Job,
    images_of: Callable[[Job, SomeImages | Tensor | None, int], SomeImages],
    depth: int = 0,
) -> list[tuple[Job, SomeImages]]:
    """Make the images of a job, after those of the job that it starts from.

    Args:
        images_of: job, the images that it starts from, depth -> (N, C, H, W) uint8.
        depth: number of jobs that start from this one.
    """
    if isinstance(job.low_res, Job):
        before = chained(job.low_res, images_of, depth + 1)
        return [(job, images_of(job, before[0][1], depth)), *before]
    return [(job, images_of(job, None if job.low_res is None else job.low_res.images, depth))]
