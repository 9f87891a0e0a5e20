"""Module, Batch -> Outcome: the loss of each image, for each kind of network."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm import losses
from adm.diffusion import Parameterization, Schedule, process
from adm.diffusion.transfer import send
from adm.images import to_float, to_uint8
from adm.networks import NO_LABEL
from adm.training.batches import Batch, Draws
from adm.training.levels import DrawLevels, Uniform, uniform_level


class Outcome(NamedTuple):
    """The result of an objective on a batch.

    Attributes:
        loss: (B,) the loss to minimise.
        shown: (B,) values for the log, by name.
        level: (B,) int64 noise levels.
    """

    loss: Tensor
    shown: dict[str, Tensor]
    level: Tensor

    def detached(self) -> "Outcome":
        """Detach the loss, to free the activations of the forward pass."""
        return self._replace(loss=self.loss.detach())


Objective: TypeAlias = Callable[[nn.Module, Batch], Outcome]
WITHHELD = 0.0  # every pixel of a condition that is withheld: an even grey


def diffusion(
    schedule: Schedule,
    parameterization: Parameterization,
    loss: losses.Loss,
    *,
    labelled: bool = True,
    label_dropout: float = 0.0,
    levels: DrawLevels | None = None,
    low_res: Callable[[Tensor], Tensor] | None = None,
    low_res_noise: int = 0,
    autocast: Callable[[], torch.autocast],
) -> Objective:
    """Return the objective of a diffusion model: denoise x_t of a random level.

    The shown values have no weights, so that those of runs with different weights compare.

    Args:
        labelled: whether the network takes labels.
        label_dropout: fraction of images trained without their label, so that one network is both
            a conditional and an unconditional model (Ho & Salimans 2022). Of pairs, the condition
            is withheld with it: the network gets `WITHHELD` in its place.
        levels: draws the levels; uniform if None.
        low_res: for an upsampler, makes its input of images (B, C, H, W) in [-1, 1]. That of a
            model of pairs is the condition in the batch.
        low_res_noise: the highest level to which that input is diffused; the network receives
            the level of each image. It is 0 for a batch without such draws.
        autocast: context of the network's forward pass; the loss is computed in float32.
    """
    draw = Uniform().over(schedule) if levels is None else levels

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x_0, draws = to_float(batch.images), batch.draws
        drawn, of_levels = draw(draws.level)
        level = send(torch.from_numpy(drawn), x_0.device)
        example = losses.Example.of(schedule, x_0, draws.noise, level)
        dropped = send(torch.from_numpy(draws.label < label_dropout), x_0.device)
        labels = batch.labels.masked_fill(dropped, NO_LABEL)
        inputs = parameterization.inputs(schedule, example.x_t, level)
        image = [] if low_res is None else [low_res(x_0)]
        if batch.condition is not None:
            image = [to_float(batch.condition)]
        if low_res_noise:
            noisy, timestep = _diffuse_input(schedule, image[0], draws, low_res_noise)
            image = [noisy, timestep[:, None]]
        if batch.condition is not None:
            image[0] = image[0].masked_fill(dropped[:, None, None, None], WITHHELD)
        with autocast():
            raw = network(*inputs, labels if labelled else None, *image)
        terms = loss(parameterization, schedule, raw.float(), example)
        shown = {k: v.detach() for k, v in terms._asdict().items() if v is not None}
        weights = send(torch.from_numpy(of_levels), x_0.device, terms.loss.dtype)
        return Outcome(terms.loss * weights, shown, level)

    return objective


def classification(
    schedule: Schedule, *, noised: bool, autocast: Callable[[], torch.autocast]
) -> Objective:
    """Return the objective of a classifier: cross-entropy (paper, section 4).

    Args:
        noised: train at uniformly drawn levels; otherwise at level 0 alone.
        autocast: context of the network's forward pass; the loss is computed in float32.
    """

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x_0 = to_float(batch.images)
        levels = (
            uniform_level(schedule, batch.draws.level) if noised else np.zeros(len(x_0), np.int64)
        )
        level = send(torch.from_numpy(levels), x_0.device)
        x_t = losses.Example.of(schedule, x_0, batch.draws.noise, level).x_t
        with autocast():
            logits = network(x_t, schedule.timestep(level, x_0))
        loss = losses.cross_entropy(logits, batch.labels)
        right = (logits.detach().argmax(dim=1) == batch.labels).float()
        return Outcome(loss, {"loss": loss.detach(), "accuracy": right}, level)

    return objective


def _diffuse_input(
    schedule: Schedule, low_res: Tensor, draws: Draws, highest: int
) -> tuple[Tensor, Tensor]:
    """Return an upsampler's input with noise of uniform levels 0..`highest`, and its timesteps.

    Conditioning augmentation (Ho et al. 2021): what a base model makes differs from small images.
    """
    if draws.low_level is None or draws.low_noise is None:
        # Not the int 0, whose timestep is read on the host: a walk without values has none.
        return low_res, schedule.timestep(torch.zeros(len(low_res), dtype=torch.int64), low_res)
    levels = np.floor(draws.low_level * (highest + 1)).astype(np.int64)
    level = send(torch.from_numpy(levels), low_res.device)
    diffused = process.diffuse(schedule, low_res, draws.low_noise, level)
    return diffused, schedule.timestep(level, low_res)


def area_mean(size: tuple[int, int], *, rounded: bool) -> Callable[[Tensor], Tensor]:
    """Return a function that downsamples images: each pixel is the mean of those that it covers.

    Args:
        size: (h, w) in pixels; it must divide the image size.
        rounded: whether to round the result to 8 bits, as in an image file.
    """

    def low(x_0: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(x_0, size)
        return to_float(to_uint8(means)) if rounded else means

    return low
