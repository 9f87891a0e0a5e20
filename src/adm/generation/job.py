"""Generator, labels, count -> Job; Job, indices -> uint8 images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adm.generation.cascade import sized
from adm.generation.generator import Cost, Generator, OnStep
from adm.spec import SettingError
from adm.store.hashes import sha256_of


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
        raise SettingError("low_res", "a uint8 tensor of shape (N, C, h, w)", got)

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
        low_res: what an upsampler starts from; None for any other generator.

    Raises:
        ValueError: `low_res` has not the shape or the number of images that the generator needs.
    """

    generator: Generator
    labels: list[int] | None
    count: int
    low_res: LowRes | None = None

    def __post_init__(self) -> None:
        wanted, given = self.generator.low_shape, self.low_res
        name = self.generator.name
        if given is None:
            if wanted is not None:
                cure = f"`adm upsample`, or {{low_res}}, gives it its images of {sized(wanted)}"
                raise SettingError("model", "one that starts from noise alone", name, cure)
            return
        if wanted is None:
            raise SettingError("low_res", f"left out, as {name} is not an upsampler")
        if tuple(given.images.shape[1:]) != tuple(wanted):
            got = sized(given.images.shape[1:])
            raise SettingError("low_res", f"images of {sized(wanted)}", got)
        if len(given.images) != self.count:
            raise SettingError("low_res", f"{self.count} images, one each", len(given.images))

    @property
    def label_tensor(self) -> Tensor | None:
        """(count,) int64; None for an unconditional generator."""
        return None if self.labels is None else torch.tensor(self.labels)

    @property
    def evaluations(self) -> int:
        """Network evaluations for all images."""
        return self.count * self.generator.evaluations

    @property
    def cost(self) -> Cost:
        """Calls of the networks per image."""
        return self.generator.cost

    def images(self, indices: Sequence[int], on_step: OnStep | None = None) -> Tensor:
        """Generate some of the images: (B, C, H, W) uint8 on the CPU.

        Args:
            on_step: called after every step with the network evaluations that it took.
        """
        labels, low = self.labels_of(indices), self.low_res_of(indices)
        return self.generator.images(labels, indices, low, on_step)

    def labels_of(self, indices: Sequence[int]) -> Tensor | None:
        """Return the labels of some images, (B,) int64."""
        return None if self.labels is None else torch.tensor([self.labels[i] for i in indices])

    def low_res_of(self, indices: Sequence[int]) -> Tensor | None:
        """Return the images that some images are made of, (B, C, h, w) uint8."""
        return None if self.low_res is None else self.low_res.images[[*indices]]

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
