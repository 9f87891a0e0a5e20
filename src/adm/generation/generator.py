"""Labels, indices -> images: the protocol Generator; model -> identity in a manifest."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from adm.models.identity import identify
from adm.models.trained import TrainedModel
from adm.samplers import State

# Called after a step with the network evaluations that it took, one image each.
OnStep: TypeAlias = Callable[[int], object]


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
        by = f" and {self.classifier:,} of the classifier" if self.classifier else ""
        calls = "call" if self.network == 1 else "calls"
        return f"{self.network:,} {calls} of the network{by}"


class Generator(Protocol):
    """A source of images: a diffusion model with its `Sampling`, or a network of another kind.

    Sample folders, sweeps and scores depend on this protocol only. A subclass inherits defaults
    for what is not abstract.
    """

    @property
    def name(self) -> str:
        """Its name in messages, such as the path of its model."""
        return type(self).__name__

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of the input of an image, such as an upsampler's small one; None for no input."""
        return None

    @property
    def input_dtype(self) -> torch.dtype:
        """Dtype of the input of an image."""
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
        """Number of images that are computed and stored together; see `generation.blocks`."""
        return 1

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Calls of the networks per image."""
        ...

    @property
    def evaluations(self) -> int:
        """Network evaluations per image: the sum of what `on_step` receives."""
        return self.cost.network

    @property
    @abstractmethod
    def steps(self) -> int:
        """The number of states of a trajectory."""
        ...

    @property
    def guidance(self) -> str:
        """What guides it, as in "classifier:scale=2 (fashion-classifier)"; empty if unguided."""
        return ""

    @property
    def shared(self) -> dict[str, Any]:
        """The settings, by name, that an upsampler of its images inherits."""
        return {"seed": self.seed}

    def input_pictures(self, input_: Tensor) -> Sequence[Tensor]:
        """Return pictures of an input, to be shown beside the images made from it; none by default.

        Args:
            input_: (*input_shape).

        Returns:
            (C, h, w) pictures: the first is shown before the images, others after them.
        """
        return ()

    def ends(self, labels: Tensor | None) -> Tensor | None:
        """Return the labels of the finished images, (B,): `labels`, unless sampling changes them.

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
        """Generate one batch: (B, C, H, W) uint8, or float32 in [-1, 1], on the CPU.

        Args:
            labels: (B,) int64; None for an unconditional batch.
            indices: (B,) global index of each image, which with the seed determines its noise.
            inputs: (B, *input_shape), the input of each image.
            on_step: called after every step with the network evaluations that it took.
        """
        ...

    @abstractmethod
    def x_start(self, indices: Sequence[int], inputs: Tensor | None = None) -> Tensor:
        """Return x_t of one batch from which sampling starts, (B, C, H, W)."""
        ...

    @abstractmethod
    def trajectory(
        self, labels: Tensor | None, indices: Sequence[int], inputs: Tensor | None = None
    ) -> Iterator[State]:
        """Generate one batch step by step; arguments as those of `images`."""
        ...

    def evaluations_of(self, step: int) -> int:
        """Return the network evaluations that a step, numbered from 1, counts for in `on_step`."""
        total, steps = self.evaluations, self.steps
        return total * step // steps - total * (step - 1) // steps

    @abstractmethod
    def manifest(self) -> dict[str, Any]:
        """Everything besides labels and indices that the images depend on, as JSON values.

        `range` is that of images of float32, as which they are stored.
        """
        ...


def identity(model: TrainedModel[Any, Any]) -> dict[str, Any]:
    """Return what identifies a trained network in a manifest."""
    return {
        "recipe": model.recipe.name,
        "file": model.path.name,
        "sha256": identify(model.path),
        "trained_steps": model.trained_steps,
        "ema_decay": model.recipe.train.ema_decay,
    }
