"""Labels, indices -> uint8 images: the protocol Generator; model -> identity in a manifest."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from adm.models.identity import identify
from adm.models.trained import TrainedModel
from adm.samplers import State

# Called after a step with the network evaluations that it took, one image each.
OnStep: TypeAlias = Callable[[int], None]


@dataclass(frozen=True)
class Cost:
    """Calls of the networks per image.

    Attributes:
        network: evaluations of the diffusion network, and of the weaker ones that it is contrasted
            with. A backward pass through one counts as one more: it is taken with respect to the
            input only, and has about as many operations.
        classifier: gradients of the classifier, each a forward and a backward pass.
    """

    network: int
    classifier: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.network + other.network, self.classifier + other.classifier)

    def __str__(self) -> str:
        guided = f" and {self.classifier:,} of the classifier" if self.classifier else ""
        calls = "call" if self.network == 1 else "calls"
        return f"{self.network:,} {calls} of the network{guided}"


class Generator(Protocol):
    """A source of images: a diffusion model with its `Sampling`, or a network of another kind.

    Sample folders, sweeps and scores depend on this protocol only. A class that names it as its
    base has what is not abstract here by default.
    """

    @property
    def name(self) -> str:
        """What errors call it, such as the path of its model."""
        return type(self).__name__

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of what an image is made from, such as the small one of an upsampler; or None."""
        return None

    @property
    def input_dtype(self) -> torch.dtype:
        """Type of what an image is made from."""
        return torch.uint8

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels; empty if it is unconditional."""
        ...

    @property
    @abstractmethod
    def seed(self) -> int:
        """Random seed; with the index of an image it determines all of its noise."""
        ...

    @property
    def block(self) -> int:
        """Number of images that are computed together, a power of two; see `generation.blocks`."""
        return 1

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Network evaluations per image: what `on_step` is called with, added up."""
        ...

    @property
    def cost(self) -> Cost:
        """Calls of the networks per image."""
        return Cost(self.evaluations)

    @property
    def guidance(self) -> str:
        """What guides it, as in "classifier:scale=2 (fashion-classifier)"; empty for nothing."""
        return ""

    @property
    def shared(self) -> dict[str, Any]:
        """The settings, by name, that an upsampler of its images takes over."""
        return {"seed": self.seed}

    def beside(self, given: Tensor) -> Sequence[Tensor]:
        """Return what to show beside the images that are made from the same: by default nothing.

        Args:
            given: (*input_shape), what they are made from.

        Returns:
            (C, h, w) uint8 pictures: the first is shown before the images, others after them.
        """
        return ()

    def ends(self, labels: Tensor | None) -> Tensor | None:
        """Return the labels of what images have become, (B,): those given, unless some changed.

        Args:
            labels: (B,) int64; None for an unconditional batch.
        """
        return labels

    @abstractmethod
    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Generate one batch: (B, C, H, W) uint8 on the CPU.

        Args:
            labels: (B,) int64; None for an unconditional batch.
            indices: (B,) global index of each image, which with the seed determines its noise.
            inputs: (B, *input_shape), what each image is made from.
            on_step: called after every step with the network evaluations that it took.
        """
        ...

    @abstractmethod
    def manifest(self) -> dict[str, Any]:
        """Everything besides labels and indices that the images depend on, as JSON values."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A generator whose images appear step by step."""

    @property
    def evaluations(self) -> int: ...

    @property
    def steps(self) -> int:
        """The number of states of a trajectory."""
        ...

    def start(self, indices: Sequence[int], inputs: Tensor | None = None) -> Tensor:
        """Return x_t of one batch from which sampling starts, (B, C, H, W)."""
        ...

    def trajectory(
        self, labels: Tensor | None, indices: Sequence[int], inputs: Tensor | None = None
    ) -> Iterator[State]:
        """Generate one batch step by step; arguments as those of `Generator.images`."""
        ...


def evaluations_of(generator: Stepwise, step: int) -> int:
    """Return the network evaluations that a step, numbered from 1, counts for in `on_step`."""
    every, steps = generator.evaluations, generator.steps
    return every * step // steps - every * (step - 1) // steps


def identity(model: TrainedModel[Any, Any]) -> dict[str, Any]:
    """Return what identifies a trained network in a manifest."""
    return {
        "recipe": model.recipe.name,
        "file": model.path.name,
        "sha256": identify(model.path),
        "trained_steps": model.trained_steps,
        "ema_decay": model.recipe.train.ema_decay,
    }
