"""A trained noisy classifier -> one that is robust, or calibrated; temperatures of its levels.

Both go on from the weights of the classifier, for the same number of steps.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from guides_variants import Logits
from torch import Tensor, nn
from torch.nn import functional as F

from adm.app.progress import progress
from adm.data import Source, shuffle
from adm.diffusion import process
from adm.images import to_float
from adm.models.trained import ClassifierModel

STEPS, BATCH, RATE = 600, 128, 2e-4
RADIUS, ATTACKS = 0.5, 3  # L2 norm of a change of an image, and the steps that look for the worst
KNOTS, NOISIEST = 10, 980  # levels at which a temperature is fitted, up to the first of sampling
Loss = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]  # network, x_t, timestep, label


def plain(network: nn.Module, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy, as before."""
    return F.cross_entropy(network(x_t, timestep), label)


def robust(network: nn.Module, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy at the worst image within `RADIUS` (Kawar et al. 2022; Madry et al. 2018).

    Projected gradient ascent in `ATTACKS` steps of 2.5 `RADIUS` / `ATTACKS`.
    """
    change = torch.zeros_like(x_t)
    for _ in range(ATTACKS):
        change.requires_grad_()
        loss = F.cross_entropy(network(x_t + change, timestep), label, reduction="sum")
        (pull,) = torch.autograd.grad(loss, change)
        change = within(change.detach() + 2.5 * RADIUS / ATTACKS * of_norm(pull, 1.0), RADIUS)
    return F.cross_entropy(network(x_t + change, timestep), label)


def of_norm(x: Tensor, norm: float) -> Tensor:
    length = x.flatten(1).norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
    return x * (norm / length).reshape(-1, 1, 1, 1)


def within(x: Tensor, norm: float) -> Tensor:
    """Shorten each image to a norm of at most `norm`."""
    length = x.flatten(1).norm(dim=1).clamp(min=norm)
    return x * (norm / length).reshape(-1, 1, 1, 1)


def calibrated(network: nn.Module, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy and the smooth calibration error of the confidence."""
    logits = network(x_t, timestep)
    return F.cross_entropy(logits, label) + smooth_error(logits, label)


def smooth_error(logits: Tensor, label: Tensor, width: float = 0.1) -> Tensor:
    """The smooth calibration error (Błasiok and Nakkiran 2024) at one width of the kernel.

    The mean over images of |sum of K(f_i, f_j) (right_j - f_j) / n|, where f is the confidence, and
    K a normal density of deviation `width` that is reflected at 0 and 1.
    """
    confidence, guess = logits.softmax(dim=1).max(dim=1)
    right = (guess == label).to(logits)
    mirrored = torch.cat([confidence, -confidence, 2 - confidence])
    apart = (confidence[:, None] - mirrored) / width
    kernel = (-apart.square() / 2).exp() / (width * math.sqrt(2 * math.pi))
    gaps = kernel @ (right - confidence).repeat(3) / len(label)
    density = kernel.sum(1) / len(label)
    return (gaps.abs() / density).mean()


def trained_on(
    classifier: ClassifierModel, source: Source, loss: Loss, steps: int = STEPS, seed: int = 0
) -> ClassifierModel:
    """Return a classifier that was trained on with a loss, with the mean weights of the last half.

    The rate falls to zero by half a cosine.
    """
    network, random = deepcopy(classifier.network).train(), np.random.default_rng(seed)
    network.requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = torch.optim.swa_utils.AveragedModel(network)
    schedule = classifier.schedule
    with progress("training a classifier on", steps, "steps") as advance:
        for step in range(steps):
            images, label = source.batch(shuffle(seed, len(source), step * BATCH, BATCH))
            x_0 = to_float(images)
            level = torch.from_numpy(random.integers(0, schedule.last + 1, len(x_0)))
            noise = torch.from_numpy(random.standard_normal(x_0.shape, np.float32))
            x_t = process.diffuse(schedule, x_0, noise, level)
            optimizer.zero_grad()
            loss(network, x_t, schedule.timestep(level, x_0), label).backward()
            optimizer.step()
            falling.step()
            if step >= steps // 2:
                average.update_parameters(network)
            advance(1)
    made = average.module.eval().requires_grad_(False)
    assert isinstance(made, type(classifier.network))
    return replace(classifier, network=made, trained_steps=classifier.trained_steps + steps)


def temperatures(
    evaluate: Logits, held_out: Source, classifier: ClassifierModel
) -> dict[str, object]:
    """Fit a temperature at `KNOTS` levels on held-out images (Guo et al. 2017)."""
    schedule, count = classifier.schedule, min(len(held_out), 2000)
    images, label = held_out.batch(range(count))
    x_0, random = to_float(images), torch.Generator().manual_seed(0)
    levels = torch.linspace(0, NOISIEST, KNOTS).round().long().tolist()
    fitted = list[float]()
    for level in levels:
        x_t = process.diffuse(schedule, x_0, torch.randn(x_0.shape, generator=random), level)
        with torch.no_grad():
            logits = evaluate(x_t, schedule.timestep(level, x_0))
        fitted.append(temperature(logits, label))
    return {
        "levels": tuple(float(schedule.timestep(level, x_0[:1])[0]) for level in levels),
        "temperatures": tuple(fitted),
    }


def temperature(logits: Tensor, label: Tensor) -> float:
    """Return the temperature of the highest likelihood, within 1/8 to 8."""
    candidates = torch.logspace(-3, 3, 601, base=2).tolist()
    losses = [F.cross_entropy(logits / each, label).item() for each in candidates]
    return candidates[int(np.argmin(losses))]
