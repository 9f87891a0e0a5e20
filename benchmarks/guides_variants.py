"""ClassifierModel -> one whose gradient is changed; the exact classifier; guided particles.

What is compared here is not part of `adm`: a variant is a class of a few lines, and what wins goes
there.

Letters in shapes: B images, K classes or particles, C channels, H and W pixels, D = C x H x W.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from adm.data import Source
from adm.diffusion import Denoise, Level, Prediction, Schedule, process
from adm.guidance import Gradient
from adm.images import to_float
from adm.models.trained import ClassifierModel
from adm.samplers import Noise

Logits = Callable[[Tensor, Tensor], Tensor]  # x_t, timestep -> (B, K)


@dataclass(frozen=True, eq=False, repr=False)
class Unit(ClassifierModel):
    """The gradient of each image is of norm 1: its length says nothing of the class.

    Multiplied by sqrt(D), so that a scale is the length of a pixel's.
    """

    def gradient(
        self, labels: Tensor, schedule: Schedule | None = None, network: Any = None
    ) -> Gradient:
        return unit(super().gradient(labels, schedule, network))


def unit(gradient: Gradient) -> Gradient:
    """Return a gradient of the norm sqrt(D) for each image, whatever the scale of the logits."""

    def combined(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        pull = gradient(x_t, level, prediction)
        length = pull.flatten(1).norm(dim=1).clamp(min=torch.finfo(pull.dtype).tiny)
        return pull * (math.sqrt(pull[0].numel()) / length).reshape(-1, 1, 1, 1)

    return combined


@dataclass(frozen=True, eq=False, repr=False)
class Tempered(ClassifierModel):
    """Logits are divided by the temperature of their level, at which they are calibrated.

    Attributes:
        levels, temperatures: between which the temperature is interpolated.
    """

    levels: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()

    def gradient(
        self, labels: Tensor, schedule: Schedule | None = None, network: Any = None
    ) -> Any:
        evaluate = self.prepared() if network is None else network
        return super().gradient(labels, schedule, self.tempered(evaluate))

    def tempered(self, evaluate: Logits) -> Logits:
        """Return the calibrated logits."""
        knots, values = torch.tensor(self.levels), torch.tensor(self.temperatures)

        def logits(x_t: Tensor, timestep: Tensor) -> Tensor:
            place = torch.bucketize(timestep.contiguous(), knots).clamp(1, len(knots) - 1)
            low, high = knots[place - 1], knots[place]
            share = ((timestep - low) / (high - low)).clamp(0, 1)
            return evaluate(x_t, timestep) / torch.lerp(
                values[place - 1], values[place], share
            ).reshape(-1, 1)

        return logits


@dataclass(frozen=True, eq=False, repr=False)
class Uneven(ClassifierModel):
    """The gradient is computed at some of the visited levels, most of them noisy, and reused.

    Compress Guidance (Dinh et al. 2024) computes it at the places T - floor(T (i / m)^k) for i in
    0..m - 1, and adds it at every level.

    Attributes:
        count: m, gradients of an image.
        power: k; 1 is even, above 1 they are dense at the noisiest levels.
    """

    count: int = 5
    power: float = 2.0

    def gradient(
        self, labels: Tensor, schedule: Schedule | None = None, network: Any = None
    ) -> Any:
        process_ = schedule or self.schedule
        return at_places(super().gradient(labels, process_, network), self.places(process_.last))

    def places(self, last: int) -> frozenset[int]:
        """Return the levels of a process with T = `last` at which the gradient is computed."""
        shares = ((i / self.count) ** self.power for i in range(self.count))
        return frozenset(last - math.floor(last * share) for share in shares)


def at_places(gradient: Gradient, places: frozenset[int]) -> Gradient:
    """Compute a gradient at some levels, and reuse it below each."""
    latest = torch.empty(0)

    def combined(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
        nonlocal latest
        if level in places or latest.shape != x_t.shape:
            latest = gradient(x_t, level, prediction)
        return latest

    return combined


def changed(kind: type[ClassifierModel], classifier: ClassifierModel, **how: Any) -> Any:
    """Return a classifier as one of the kinds above."""
    shared = {each.name: getattr(classifier, each.name) for each in fields(ClassifierModel)}
    return kind(**shared, **how)


# The exact classifier of a finite set of images, which a noisy classifier approximates: x_t is
# signal x_i + sigma noise of an image i that is drawn uniformly, so that
# p(y | x_t) = sum of p(i | x_t) over the images of y, and p(i | x_t) ~ exp(-|x_t - signal x_i|^2 /
# (2 sigma^2)). Its gradient is signal / sigma^2 (E[x_0 | x_t, y] - E[x_0 | x_t]).


class Exact:
    """The classifier and its gradient, of all images of a source."""

    def __init__(self, source: Source, schedule: Schedule) -> None:
        images, self.labels = source.batch(range(len(source)))
        self.images = to_float(images).flatten(1)
        self.schedule, self.classes = schedule, len(source.classes)
        self.squares = self.images.square().sum(1)

    def weights(self, x_t: Tensor, level: int) -> Tensor:
        """(B, C, H, W) -> (B, N) p(i | x_t)."""
        signal, sigma = (float(each[level]) for each in (self.schedule.signal, self.schedule.sigma))
        inner = signal * (x_t.flatten(1) @ self.images.T) - signal**2 / 2 * self.squares
        return (inner / sigma**2).softmax(dim=1)

    def probabilities(self, x_t: Tensor, level: int) -> Tensor:
        """(B, K) p(y | x_t)."""
        weights = self.weights(x_t, level)
        return weights.new_zeros(len(x_t), self.classes).index_add(1, self.labels, weights)

    def gradient(self, x_t: Tensor, level: int, label: Tensor) -> Tensor:
        """(B, C, H, W) gradient of log p(label | x_t)."""
        weights = self.weights(x_t, level)
        own = weights * (self.labels == label[:, None])
        own = own / own.sum(1, keepdim=True).clamp(min=torch.finfo(own.dtype).tiny)
        signal, sigma = (float(each[level]) for each in (self.schedule.signal, self.schedule.sigma))
        return (signal / sigma**2 * ((own - weights) @ self.images)).reshape(x_t.shape)


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error: |accuracy - confidence| over bins of as many images.

    Args:
        logits: (B, K).
        labels: (B,).
    """
    confidence, guess = logits.softmax(dim=1).max(dim=1)
    order = confidence.argsort()
    gap = ((guess == labels).double() - confidence.double())[order]
    return sum(abs(float(part.sum())) for part in gap.tensor_split(bins)) / len(gap)


def alignment(one: Tensor, other: Tensor) -> Tensor:
    """(B,) cosine of the angle between two gradients of each image."""
    return torch.cosine_similarity(one.flatten(1), other.flatten(1), dim=1)


# Twisted diffusion sampling (Wu et al. 2023, Algorithm 1): K particles of an image take the steps
# of Algorithm 1 of the paper, and carry weights that correct what the gradient approximates. As K
# grows the samples are of the model's own distribution given the class.


def twisted(
    denoise: Denoise,
    log_p: Callable[[Tensor, Level], Tensor],
    x: Tensor,
    schedule: Schedule,
    noise: Noise,
    particles: int,
    random: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sample B images with `particles` each.

    Args:
        denoise: of B * particles images.
        log_p: (x_t, level) -> (B * particles,) log p(y | x_t) of a classifier, differentiable; at
            level 0 of an image.
        x: (B * particles, C, H, W) pure noise.
        random: for resampling.

    Yields:
        x_t after every step, and the (B, particles) logarithms of the weights, before they are
        resampled; their means over particles are unbiased for p(y) where there is no resampling.
    """
    before, pull = twist(log_p, x, schedule.last)
    weights = before.reshape(-1, particles)
    for t in range(schedule.last, 0, -1):
        with torch.no_grad():
            p = denoise(x, t)
        mean = process.posterior(schedule, p.x_0, x, t).mean
        if t == 1:  # the last step adds no noise, so that there is nothing to shift
            x, correction = mean, torch.zeros(len(x))
        else:
            variance = p.variance.log.exp()
            shift, drawn = variance * pull, variance.sqrt() * noise(t)
            x = mean + shift + drawn
            # log N(x; mean) - log N(x; mean + shift), both of the same variance
            apart = (drawn.square() - (drawn + shift).square()) / (2 * variance)
            correction = apart.flatten(1).sum(1)
        after, pull = twist(log_p, x, t - 1)
        weights = weights + (correction + after - before).reshape(-1, particles)
        before = after
        yield x, weights
        if t > 1:
            x, before, pull, weights = resampled(x, before, pull, weights, random)


def twist(log_p: Callable[[Tensor, Level], Tensor], x: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Return log p(y | x_t) and its gradient."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = log_p(x, level)
        (pull,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), pull


def resampled(
    x: Tensor, before: Tensor, pull: Tensor, weights: Tensor, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw the particles of an image anew by their weights, where fewer than half of them count.

    Systematic resampling; Kish's count is 1 / sum of w^2. The mean weight stays.
    """
    count = weights.shape[1]
    shares = weights.softmax(dim=1)
    poor = 1 / shares.square().sum(1) < count / 2
    points = (torch.arange(count) + torch.rand(len(shares), 1, generator=random)) / count
    chosen = torch.searchsorted(shares.cumsum(1), points.to(shares)).clamp(max=count - 1)
    chosen = torch.where(poor[:, None], chosen, torch.arange(count))
    place = (chosen + count * torch.arange(len(shares))[:, None]).flatten()
    mean = weights.logsumexp(dim=1, keepdim=True) - math.log(count)
    weights = torch.where(poor[:, None], mean.expand_as(weights), weights)
    return x[place], before[place], pull[place], weights


def chosen(x: Tensor, weights: Tensor, random: torch.Generator) -> Tensor:
    """Return a particle of each image, drawn by its weight: (B, C, H, W)."""
    places = torch.multinomial(weights.softmax(dim=1), 1, generator=random)[:, 0]
    return x.unflatten(0, weights.shape)[torch.arange(len(weights)), places]
