"""Recipe, data, run folder -> Watched; weights -> model that shares them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from adm.data import Source
from adm.distillation import Teach
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import Classifier, UNet, on_meta
from adm.processes import Devices
from adm.recipes import DiffusionRecipe, Recipe
from adm.training.learner import Learner

PIXELS = 64 * 64 * 64  # pixels of a batch in evaluation


class Weights(NamedTuple):
    """The raw weights and their average, by name."""

    raw: Mapping[str, Tensor]
    mean: Mapping[str, Tensor]

    @classmethod
    def of(cls, learner: Learner) -> "Weights":
        """Return the weights of a run."""
        # Detached: `Watched.network` would use a Parameter itself, and turn off its gradients.
        raw = {name: p.detach() for name, p in learner.network.named_parameters()}
        return cls(raw, learner.ema.weights)


@dataclass(frozen=True, eq=False)
class Watched:
    """A run as its watches see it; `recipe.watch` sets how much they do.

    The figures of a watch go into the log. They must be a function of the steps done and of the
    weights alone, so that a resumed run writes the same log as one that was not interrupted.

    Attributes:
        training: the training images.
        held_out: images that are not trained on; None for no validation, and for previews of
            training images.
        folder: the run folder, which gets progress.png and previews/.
        teach: the teacher of a student.
        classifier: one by which samples are guided that are scored beside those without; or None.
    """

    recipe: Recipe
    training: Source
    held_out: Source | None
    folder: Path
    devices: Devices
    teach: Teach | None = None
    classifier: ClassifierModel | None = None

    @property
    def interval(self) -> int:
        """The interval in steps at which watches are due."""
        return self.recipe.watch.every_steps or self.recipe.train.save_every_steps

    def due(self, done: int) -> bool:
        """Return whether watches are due after `done` steps: also after the last."""
        return done % self.interval == 0 or done == self.recipe.train.steps

    def first(self, done: int) -> bool:
        """Return whether they are due after `done` steps for the first time."""
        return done == min(self.interval, self.recipe.train.steps)

    @property
    def at_once(self) -> int:
        """The images per forward pass in evaluation, which takes less memory than training.

        At most 64, and as many pixels as 64 images of 64x64 have.
        """
        height, width = self.recipe.data.size
        return max(1, min(64, PIXELS // (height * width)))

    def network(self, weights: Mapping[str, Tensor]) -> UNet | Classifier:
        """Return a network in evaluation mode, without gradients, that shares these tensors.

        The network that they come from does not change, and no random numbers are drawn.

        Args:
            weights: as of `Weights`; not parameters.
        """
        network = on_meta(self.recipe.config)
        network.load_state_dict(dict(weights), assign=True)
        return network.eval().requires_grad_(False)

    def model(self, weights: Mapping[str, Tensor], done: int) -> DiffusionModel:
        """Return the model that would be loaded if these weights were saved after `done` steps."""
        recipe, network, classes = self.recipe, self.network(weights), self.training.classes
        assert isinstance(network, UNet)
        assert isinstance(recipe, DiffusionRecipe)
        return DiffusionModel(network, recipe, classes, self.folder, done)
