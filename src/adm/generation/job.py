"""Generator, labels, count -> Job; Job, indices -> images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adm.generation.generator import Cost, Generator, OnStep
from adm.shown import count_of
from adm.spec import SettingError, literal, out_of_range
from adm.store.hashes import sha256_of


@dataclass(frozen=True, eq=False)
class Job:
    """The images that one call generates; their indices are 0..count - 1.

    Attributes:
        generator: generates the images.
        labels: one per image, or None for an unconditional generator.
        count: number of images.
        inputs: (count, ...) the input of each image, such as the small image that an upsampler
            enlarges; None for a generator that starts from noise alone.
        source: description of the origin of the inputs, for the manifest.

    Raises:
        SettingError: `inputs` has another type, shape or number than the generator needs.
    """

    generator: Generator
    labels: list[int] | None
    count: int
    inputs: Tensor | None = None
    source: str = "memory"

    def __post_init__(self) -> None:
        expected, inputs = self.generator.input_shape, self.inputs
        name = literal(self.generator.name)
        if inputs is None:
            if expected is not None:
                raise SettingError(
                    "model",
                    f"{name} starts from images of {sized(expected)}; give them by `adm sample "
                    "--condition`, or in Python as inputs",
                )
            return
        if expected is None:
            raise SettingError("inputs", f"{name} starts from noise alone; leave {{}} out")
        check_tensor("inputs", inputs, self.generator.input_dtype, expected)
        if len(inputs) != self.count:
            raise SettingError(
                "inputs",
                f"{self.count} images need as many {{}}, got {len(inputs)}; give one for each",
            )

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
        """Generate some of the images: (B, C, H, W) on the CPU.

        Args:
            on_step: called after every step with the network evaluations that it took.
        """
        labels, inputs = self.labels_of(indices), self.inputs_of(indices)
        return self.generator.images(labels, indices, inputs, on_step)

    def labels_of(self, indices: Sequence[int]) -> Tensor | None:
        """Return the labels of some images, (B,) int64."""
        return None if self.labels is None else torch.tensor([self.labels[i] for i in indices])

    def inputs_of(self, indices: Sequence[int]) -> Tensor | None:
        """Return the inputs of some images, (B, ...)."""
        return None if self.inputs is None else self.inputs[[*indices]]

    def manifest(self) -> dict[str, Any]:
        """Everything that the images depend on, as JSON values."""
        return {
            **self.generator.manifest(),
            "count": self.count,
            "labels": self.labels,
            "classes": list(self.generator.classes),
            "inputs": self._input_manifest(),
        }

    def _input_manifest(self) -> dict[str, Any] | None:
        """Source, shape and SHA-256 of the inputs, as JSON values."""
        if self.inputs is None:
            return None
        values = self.inputs.contiguous().numpy().tobytes()
        shape = list(self.inputs.shape)
        return {"source": self.source, "shape": shape, "sha256": sha256_of(values)}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest: jobs of one fingerprint have the same images."""
        return sha256_of(json.dumps(self.manifest(), sort_keys=True).encode())


def sized(shape: Sequence[int]) -> str:
    """(C, H, W) -> such as `28x28 with 1 channel`."""
    channels, *sides = shape
    return f"{'x'.join(map(str, sides))} with {count_of(channels, 'channel')}"


def check_tensor(
    field: str, value: object, dtype: torch.dtype, shape: Sequence[int], cure: str = ""
) -> None:
    """Raise SettingError unless a value is a tensor (N, *shape) of a type."""
    got = type(value).__name__
    if isinstance(value, Tensor):
        if (value.dtype, tuple(value.shape[1:])) == (dtype, tuple(shape)):
            return
        got = _typed(value.dtype, value.shape)
    raise out_of_range(field, _typed(dtype, ("N", *shape)), got, cure)


def _typed(dtype: torch.dtype, shape: Sequence[object]) -> str:
    """Type, shape -> such as `a tensor of uint8 (N, 3, 8, 8)`."""
    name = str(dtype).removeprefix("torch.")
    return f"a tensor of {name} ({', '.join(map(str, shape))})"
