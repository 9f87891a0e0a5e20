"""Network, recipe, classes -> DiffusionModel, ClassifierModel."""

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Self, TypeAlias, TypeVar

import torch
from torch import Tensor

from adm.diffusion import Denoise, Level, Parameterization, Prediction, Schedule, Threshold, clip
from adm.distillation import conditions
from adm.guidance import Gradient, classifier_gradient
from adm.images import Range
from adm.models.compiled import Compiled
from adm.models.hub import MODEL, repository_of
from adm.networks import NO_LABEL, Classifier, Prepared, UNet, perturbed, prepared
from adm.networks.inference import PreparedUNet
from adm.recipes import build
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe

# x_t, timestep, label, low-resolution image, conditions -> raw output
Network: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None], Tensor]
Logits: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # image, timestep -> logits

AnyNetwork = TypeVar("AnyNetwork", UNet, Classifier)
AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
CHECKPOINTS = "checkpoints"  # in a run folder


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel(Generic[AnyNetwork, AnyRecipe]):
    """A trained network, and the copies of it that sampling evaluates.

    The copies are made at the first request, and do not follow later changes of the weights.

    Attributes:
        network: with the averaged weights, in evaluation mode.
        recipe: the recipe that it was trained from.
        classes: names in the order of the labels; empty for an unconditional model.
        path: the file that it was loaded from.
        trained_steps: number of optimizer steps.
    """

    network: AnyNetwork
    recipe: AnyRecipe
    classes: tuple[str, ...]
    path: Path
    trained_steps: int

    def __repr__(self) -> str:
        sides = "x".join(map(str, self.recipe.data.size))
        of = f"{len(self.classes)} classes, {self.trained_steps} steps"
        return f"{type(self).__name__}({str(self.path)!r}, {self.recipe.name}, {sides}, {of})"

    @property
    def name(self) -> str:
        """The name of the run folder that it is from, or else of its file."""
        return name_of(self.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return (self.recipe.data.channels, *self.recipe.data.size)

    @property
    def range(self) -> Range:
        """The values of its images in files."""
        return self.recipe.data.range

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def to(self, device: torch.device) -> Self:
        """Return the model on a device; this one stays where it is."""
        return replace(self, network=deepcopy(self.network).to(device))

    @cached_property
    def schedule(self) -> Schedule:
        """The process that it was trained on."""
        return build.schedule(self.recipe.process)

    def prepared(self, precision: str = "float32", compile: bool = False) -> Prepared | Compiled:
        """Return the network, prepared for sampling in this precision.

        Args:
            precision: float32, bfloat16 or float16.
            compile: whether torch compiles it at the first call.
        """
        dtype = build.PRECISIONS.get(precision, torch.float32)
        return self._copy((precision,), lambda: prepared(self.network, dtype), compile)

    def _copy(
        self, key: tuple[str, ...], make: Callable[[], Prepared], compile: bool
    ) -> Prepared | Compiled:
        """Return a copy of the network, which is made or compiled at its first request."""
        if key not in self._copies:
            self._copies[key] = make()
        if not compile:
            return self._copies[key]
        compiled = (*key, "compiled")
        if compiled not in self._copies:
            what = "classifier" if isinstance(self.network, Classifier) else "network"
            self._copies[compiled] = Compiled(self._copies[key], what)
        return self._copies[compiled]

    @cached_property
    def _copies(self) -> dict[tuple[str, ...], Any]:
        return {}


class DiffusionModel(TrainedModel[UNet, DiffusionRecipe]):
    """A trained network, its diffusion process, and the interpretation of its output."""

    @cached_property
    def parameterization(self) -> Parameterization:
        """The target and the variance of the network's output."""
        return build.parameterization(self.recipe.process)

    @property
    def student(self) -> bool:
        """Whether it is distilled from a guided sampler, and takes the scale as an input."""
        return self.recipe.distillation is not None

    @property
    def low_shape(self) -> tuple[int, int, int] | None:
        """(C, h, w) of the images that an upsampler starts from; None for any other model."""
        data = self.recipe.data
        return None if data.low_res is None else (data.channels, *data.low_res)

    def denoise(
        self,
        labels: Tensor | None = None,
        schedule: Schedule | None = None,
        threshold: Threshold | None = clip,
        low_res: Tensor | None = None,
        network: Network | None = None,
        scale: float | Tensor = 0.0,
        low_res_noise: int = 0,
    ) -> Denoise:
        """Return the denoiser, (x_t, level) -> Prediction, for these labels.

        It is differentiable with respect to x_t, and rounds differently from `network`, whose order
        of operations is that of the released system.

        Args:
            labels: (B,) int64; None for an unconditional prediction.
            schedule: a respaced process; by default the process that it was trained on.
            threshold: applied to every estimate of x_0.
            low_res: (B, C, h, w) in [-1, 1], the images that an upsampler starts from.
            network: what evaluates it, such as `prepared("bfloat16")`; by default in float32.
            scale: guidance scale, a number or (B,), of a distilled student, which takes steps
                between neighbouring levels of `schedule`; no effect on any other model.
            low_res_noise: level of the noise on `low_res`, an input of an upsampler that was
                trained on such noise.
        """
        levels = self.schedule if schedule is None else schedule
        evaluate = self.prepared() if network is None else network
        if labels is None and self.network.config.classes is not None:
            labels = torch.tensor([NO_LABEL], device=self.device)
        names = self.network.config.conditions

        def denoise(x_t: Tensor, level: Level) -> Prediction:
            noisy = self.schedule.timestep(low_res_noise, x_t)
            values = conditions(names, levels, x_t, level - 1, scale, noisy)
            inputs = self.parameterization.inputs(levels, x_t, level)
            raw = evaluate(*inputs, labels, low_res, values)
            return self.parameterization.predict(levels, raw, x_t, level, threshold)

        return denoise

    def perturbed(self, precision: str = "float32", compile: bool = False) -> Prepared | Compiled:
        """Return the prepared network without its innermost attention; see `networks.perturbed`."""
        network = self.prepared(precision)
        assert isinstance(network, PreparedUNet)
        return self._copy((precision, "perturbed"), lambda: perturbed(network), compile)


class ClassifierModel(TrainedModel[Classifier, ClassifierRecipe]):
    """A trained classifier and the diffusion process whose levels it was trained on."""

    def gradient(
        self,
        labels: Tensor,
        schedule: Schedule | None = None,
        network: Logits | None = None,
    ) -> Gradient:
        """Return the gradient of log p(label | x_t) with respect to x_t, without a scale.

        Args:
            labels: (B,) int64.
            schedule: a respaced process; by default the process that it was trained on.
            network: what evaluates it, such as `prepared("bfloat16")`; by default in float32.
        """
        evaluate = self.prepared() if network is None else network
        return classifier_gradient(evaluate, schedule or self.schedule, labels)

    def classify(self, x_0: Tensor) -> Tensor:
        """(B, C, H, W) clean images in [-1, 1] -> (B, classes) logits.

        A noisy classifier takes them as images of its lowest level.
        """
        return self.network(x_0, self.schedule.timestep(1 if self.recipe.noised else 0, x_0))


def name_of(path: Path) -> str:
    """Return the name of the model in a file.

    It is the name of the run folder for a file of a checkpoint, owner/name for one from the hub,
    that of its folder for another `model.safetensors`, and otherwise that of the file, without its
    suffix.
    """
    whole = Path(os.path.abspath(path))  # links keep their own names
    if repository := repository_of(whole):
        return repository
    if whole.name != MODEL:
        return whole.stem
    folders = [parent.name for parent in whole.parents]
    if CHECKPOINTS in folders[:-2]:
        return folders[folders.index(CHECKPOINTS) + 1]
    return folders[0] or whole.stem
