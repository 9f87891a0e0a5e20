"""Module, Batch -> Outcome: the loss of each image, for each kind of network."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm import losses
from adm.diffusion import Parameterization, Schedule
from adm.images import to_float, to_uint8
from adm.networks import NO_LABEL
from adm.training.batches import Batch
from adm.training.draws import Draws


class Outcome(NamedTuple):
    """What a batch gave.

    Attributes:
        loss: (B,) to be minimised.
        shown: name -> (B,) values for the log.
        level: (B,) noise level of each image.
    """

    loss: Tensor
    shown: dict[str, Tensor]
    level: Tensor

    def detached(self) -> "Outcome":
        """Without the network's features, which would stay in memory."""
        return self._replace(loss=self.loss.detach())


Objective: TypeAlias = Callable[[nn.Module, Batch], Outcome]


# Eight parameters: the first three define the loss, the others are options, by keyword.
def diffusion(
    schedule: Schedule,
    parameterization: Parameterization,
    loss: losses.Loss,
    *,
    labelled: bool = True,
    label_dropout: float = 0.0,
    importance: losses.TimestepImportance | None = None,
    low_res: Callable[[Tensor], Tensor] | None = None,
    autocast: Callable[[], torch.autocast],
) -> Objective:
    """Train a network to undo noise.

    Args:
        labelled: tell the network the classes; one without any takes none.
        label_dropout: share of images that lose their label, so that one network serves as
            conditional and unconditional model.
        importance: draws the levels; uniform where None. The loop updates it, after the last
            micro-batch.
        low_res: for an upsampler, images (B, C, H, W) in [-1, 1] -> what it starts from.
        autocast: the precision of the network's arithmetic; the loss is float32.
    """

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x_0, draws = to_float(batch.images), batch.draws
        weights = np.ones(len(x_0))
        if importance is None:
            levels = uniform_level(schedule, draws)
        else:
            levels, weights = importance.draw(draws.level)
        level = torch.from_numpy(levels).to(x_0.device)
        example = losses.noised(schedule, x_0, draws.noise, level)
        dropped = torch.from_numpy(draws.label < label_dropout).to(x_0.device)
        labels = batch.labels.masked_fill(dropped, NO_LABEL)
        inputs = [example.x_t, schedule.timestep(level, x_0), labels if labelled else None]
        if low_res is not None:
            inputs.append(low_res(x_0))
        with autocast():
            raw = network(*inputs)
        terms = loss(parameterization, schedule, raw.float(), example)
        shown = {k: v.detach() for k, v in terms._asdict().items() if v is not None}
        return Outcome(terms.loss * torch.from_numpy(weights).to(terms.loss), shown, level)

    return objective


def classification(
    schedule: Schedule, *, noised: bool, autocast: Callable[[], torch.autocast]
) -> Objective:
    """Train a classifier at uniformly drawn levels, or at level 0 alone when not `noised`."""

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x_0 = to_float(batch.images)
        levels = uniform_level(schedule, batch.draws) if noised else np.zeros(len(x_0), np.int64)
        level = torch.from_numpy(levels).to(x_0.device)
        x_t = losses.noised(schedule, x_0, batch.draws.noise, level).x_t
        with autocast():
            logits = network(x_t, schedule.timestep(level, x_0))
        loss = losses.cross_entropy(logits, batch.labels)
        right = (logits.detach().argmax(dim=1) == batch.labels).float()
        return Outcome(loss, {"loss": loss.detach(), "accuracy": right}, level)

    return objective


def uniform_level(schedule: Schedule, draws: Draws) -> np.ndarray:
    """(B,) int64 levels in 1..T."""
    return 1 + np.floor(draws.level * schedule.last).astype(np.int64)


def area_mean(size: tuple[int, int], *, rounded: bool) -> Callable[[Tensor], Tensor]:
    """The low-resolution version of an image: each pixel is the mean of those that it covers.

    Args:
        size: (h, w), which divides the image's.
        rounded: to 8 bits, as a file of it would be.
    """

    def low(x_0: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(x_0, size)
        return to_float(to_uint8(means)) if rounded else means

    return low
