"""Images, labels -> an R3GAN -> samples: the GAN without tricks, in one file read top to bottom.

    python baselines/r3gan.py train --data fashion-mnist --out runs/r3gan --hours 1
    python baselines/r3gan.py sample runs/r3gan/step-0006500.safetensors --out out/gan \
        --classes all:8
    adm evaluate out/gan --reference fashion-mnist --split test

A discriminator compares a real image with a generated one, and the generator learns to win that
comparison: a relativistic loss, whose penalties on the gradients make training converge, so that a
plain network without normalisation suffices (Huang et al. 2024, "The GAN is dead; long live the
GAN!", arXiv 2501.05441). Data, noise, changes of images, files and samples are as in biggan.py.

Letters in shapes: B images, C channels, H and W pixels, E width of the last features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rival import EMOJI, Game, GeneratorBase, Settings, command
from torch import Tensor, nn
from torch.nn import functional as F

from adm.data import Source, shuffle
from adm.images import to_float


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """What an R3GAN depends on besides.

    Pairs of values are those at the start and after the burn-in.

    Attributes:
        blocks: residual blocks of a resolution, each `expansion` times wider inside.
        group: channels of a group of the middle convolution of a block.
        micro_batch: pairs of images of one pass.
        burn_in: pairs of images.
        rate, beta_2: of Adam, for both networks.
        penalty: gamma, the factor of the penalties.
        half_life: of the average of the generator's weights, in pairs of images.
        change: probability that an image is changed.
        penalty_every: steps from one with the penalties to the next, where they count as much more;
            1 in the paper.
    """

    name: ClassVar[str] = "r3gan"

    multipliers: tuple[int, ...] = (1, 4, 8)
    noise: int = 64
    blocks: int = 2
    expansion: int = 2
    group: int = 16
    micro_batch: int = 64
    burn_in: int = 200_000
    rate: tuple[float, ...] = (2e-4, 5e-5)
    beta_2: tuple[float, ...] = (0.9, 0.99)
    penalty: tuple[float, ...] = (0.5, 0.05)
    half_life: tuple[float, ...] = (0.0, 50_000.0)
    change: tuple[float, ...] = (0.0, 0.5)
    penalty_every: int = 1

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.precision)

    def at(self, values: Sequence[float], pairs: int) -> float:
        """Return a value of the schedule: half a cosine from the first to the last."""
        first, last = values
        share = min(pairs / self.burn_in, 1.0)
        return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


SHORT: dict[str, Any] = {  # of some core-hours; the defaults are of a run of days
    "rate": (2e-3, 5e-4),
    "half_life": (0.0, 10_000.0),
    "penalty_every": 4,
}
PRESETS = {
    "fashion": Config(**SHORT, burn_in=40_000),
    "emoji": Config(**EMOJI, **SHORT, multipliers=(1, 4, 8, 8), burn_in=60_000),
}


# Neither network normalises anything. Their residual blocks start as the identity, by last
# convolutions of zero, and the others are smaller the more blocks there are: by L^(-1/4) for L
# blocks of three convolutions (Zhang et al. 2019, "Fixup initialization").

SLOPE = 0.2  # of the leaky ReLU below zero


class Convolve(torch.autograd.Function):
    """x, weight, bias -> y, with groups; its gradient by x can be differentiated again.

    torch's own second derivative transposes images and channels, which takes a quarter of a step.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.groups = inputs
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        by_x, by_weight, *_ = ctx.needs_input_grad
        return (
            TransposedConvolve.apply(g, weight, ctx.groups) if by_x else None,
            gradients(g.detach(), x.detach(), weight.detach(), ctx.groups)[1]
            if by_weight
            else None,
            g.detach().sum((0, 2, 3)) if by_weight and ctx.biased else None,
            None,
        )


class TransposedConvolve(torch.autograd.Function):
    """g, weight -> the gradient of `Convolve` by x; linear in both."""

    @staticmethod
    def forward(g: Tensor, weight: Tensor, groups: int) -> Tensor:
        shape = (len(g), weight.shape[1] * groups, *g.shape[2:])
        x = g.new_empty(1).expand(shape)  # whose values play no part
        return gradients(g, x, weight, groups, (True, False))[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, weight, ctx.groups = inputs
        ctx.save_for_backward(g, weight)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> Any:
        g, weight = ctx.saved_tensors
        by_g = Convolve.apply(change, weight, None, ctx.groups)
        return by_g, gradients(g, change, weight, ctx.groups)[1], None


def gradients(
    g: Tensor, x: Tensor, weight: Tensor, groups: int, wanted: tuple[bool, bool] = (False, True)
) -> tuple[Tensor, Tensor]:
    """Return the gradients of a convolution by x and by its weight."""
    size = weight.shape[-1] // 2
    one = [1, 1]
    return torch.ops.aten.convolution_backward(
        g, x, weight, None, one, [size, size], one, False, [0, 0], groups, [*wanted, False]
    )[:2]


class Conv(nn.Module):
    """A convolution, in its input's type, that multiplies the variance by gain^2."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, gain: float, groups: int = 1
    ) -> None:
        super().__init__()
        self.groups = groups
        weight = torch.randn(out_channels, channels // groups, kernel, kernel)
        self.weight = nn.Parameter(weight * gain / math.sqrt(weight[0].numel()))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        given = None if bias is None else bias.to(x.dtype)
        weight = self.weight.to(x.dtype, memory_format=torch.channels_last)
        return Convolve.apply(x, weight, given, self.groups)


class Block(nn.Module):
    """x + f(x): 1x1 wider, 3x3 in groups, 1x1 back."""

    def __init__(self, channels: int, config: Config, count: int) -> None:
        super().__init__()
        inner = channels * config.expansion
        gain = math.sqrt(2 / (1 + SLOPE**2)) * count**-0.25
        self.widen = Conv(channels, inner, 1, gain)
        self.mix = Conv(inner, inner, 3, gain, inner // config.group)
        self.narrow = Conv(inner, channels, 1, 0.0)
        self.bias = nn.Parameter(torch.zeros(2, inner))

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.widen(x, self.bias[0]), SLOPE)
        return x + self.narrow(F.leaky_relu(self.mix(h, self.bias[1]), SLOPE))


def blocks(width: int, config: Config) -> list[nn.Module]:
    count = config.blocks * len(config.multipliers)
    return [Block(width, config, count) for _ in range(config.blocks)]


class Generator(GeneratorBase):
    """noise, label -> image."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, widths = config, config.widths
        self.label_embedding = nn.Embedding(config.classes, config.class_width)
        self.basis = nn.Parameter(torch.randn(*config.smallest, widths[-1]))
        inputs = config.noise + config.class_width
        self.first = nn.Linear(inputs, widths[-1], bias=False)
        nn.init.normal_(self.first.weight, std=inputs**-0.5)
        layers = blocks(widths[-1], config)
        for wide, narrow in pairwise(reversed(widths)):
            # Of kernel size 1, it is the same before the upsampling, and four times cheaper.
            layers += [Conv(wide, narrow, 1, 1.0), nn.Upsample(scale_factor=2, mode="bilinear")]
            layers += blocks(narrow, config)
        self.stages = nn.Sequential(*layers)
        self.last = Conv(widths[0], config.image_channels, 1, 1.0)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """(B, noise) standard normal, (B,) int64 -> (B, C, H, W)."""
        factors = self.first(torch.cat([noise, self.label_embedding(label)], dim=1))
        h = (factors[:, None, None] * self.basis).permute(0, 3, 1, 2)
        return self.last(self.stages(h.to(self.config.dtype))).float()


class Discriminator(nn.Module):
    """image, label -> logit: <embedding of the label, features of the image>."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, widths = config, config.widths
        self.first = Conv(config.image_channels, widths[0], 1, 1.0)
        layers = blocks(widths[0], config)
        for narrow, wide in pairwise(widths):
            layers += [nn.AvgPool2d(2), Conv(narrow, wide, 1, 1.0), *blocks(wide, config)]
        self.stages = nn.Sequential(*layers)
        self.basis = nn.Parameter(torch.empty(*config.smallest, widths[-1]))
        nn.init.normal_(self.basis, std=math.prod(config.smallest) ** -0.5)
        self.head = nn.Linear(widths[-1], config.class_width, bias=False)
        nn.init.normal_(self.head.weight, std=widths[-1] ** -0.5)
        self.label_embedding = nn.Embedding(config.classes, config.class_width)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) int64 -> (B,)."""
        h = self.first(x.to(self.config.dtype)).contiguous(memory_format=torch.channels_last)
        h = self.stages(h)
        # In the order of memory, so that gradients have it too.
        features = (h.permute(0, 2, 3, 1).to(self.basis.dtype) * self.basis).sum((1, 2))
        of_label = self.label_embedding(label) / math.sqrt(self.head.out_features)
        return (self.head(features) * of_label).sum(1)


# The losses (equations 1, 4 and 5 of the paper): softplus of how much the other image of the pair
# seems more real, and gamma / 2 times the squared norm of the gradient at real and at made images.


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logits of real and of generated images -> scalar."""
    return F.softplus(fake - real).mean()


def generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(real - fake).mean()


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """The squared norm of the gradient at each image, (B,)."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3))


class R3GAN(Game):
    """Both networks, and one step of their training."""

    def __init__(self, config: Config, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        super().__init__(config, Generator(config), Discriminator(config), device)
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), betas=(0.0, 0.9)),
            "critic": torch.optim.Adam(self.critic.parameters(), betas=(0.0, 0.9)),
        }

    def learn(self, source: Source) -> dict[str, float]:
        config, random = self.config, np.random.default_rng([self.config.seed, self.step])
        size, pairs = config.batch_size, self.step * config.batch_size
        for optimizer in self.optimizers.values():
            (group,) = optimizer.param_groups
            group["lr"] = config.at(config.rate, pairs)
            group["betas"] = (0.0, config.at(config.beta_2, pairs))
        images, label = source.batch(shuffle(config.seed, len(source), pairs, size))
        real, label = to_float(images).to(self.device), label.to(self.device)
        factor = 0.0
        if self.step % config.penalty_every == 0:
            factor = config.at(config.penalty, pairs) / 2 * config.penalty_every
        losses = {
            "critic": self.step_of("critic", real, label, random, factor),
            "generator": self.step_of("generator", real, label, random),
        }
        half_life = config.at(config.half_life, pairs)
        self.average(0.5 ** (size / half_life) if half_life else 0.0)
        self.step += 1
        return losses

    def step_of(
        self,
        player: str,
        real: Tensor,
        label: Tensor,
        random: np.random.Generator,
        factor: float = 0,
    ) -> float:
        """Take the step of one of the two networks; return its loss, without the penalties."""
        learns, total, penalty = player == "critic", 0.0, torch.tensor(0.0)
        self.optimizers[player].zero_grad()
        self.critic.requires_grad_(learns)
        for images, labels in zip(
            real.split(self.config.micro_batch), label.split(self.config.micro_batch), strict=True
        ):
            share = len(images) / len(real)
            noise = random.standard_normal((len(images), self.config.noise), np.float32)
            with torch.set_grad_enabled(not learns):
                fake = self.generator(torch.from_numpy(noise).to(self.device), labels)
            both = torch.cat([images, fake])
            both.requires_grad_(both.requires_grad or factor > 0)
            shown = self.change(both, random)
            if learns:
                logits = self.critic(shown, labels.repeat(2))
                loss = critic_loss(*logits.chunk(2))
                if factor:
                    penalty = factor * 2 * squared_gradient(logits, both).mean()
            else:
                of_real, of_fake = shown.chunk(2)
                with torch.no_grad():
                    of_real = self.critic(of_real, labels)
                loss = generator_loss(of_real, self.critic(of_fake, labels))
            ((loss + penalty) * share).backward()
            total += share * loss.item()
        return self.take_step(player, total)

    def change(self, images: Tensor, random: np.random.Generator) -> Tensor:
        """Change as many images as the schedule says."""
        changed = random.random(len(images)) < self.config.at(
            self.config.change, self.step * self.config.batch_size
        )
        mask = torch.from_numpy(changed).to(self.device)[:, None, None, None]
        return torch.where(mask, super().change(images, random), images)


def open_generator(
    weights: Path, device: torch.device, truncation: float | None
) -> tuple[Generator, tuple[str, ...]]:
    """Return the generator of a file of weights, and the names of its classes."""
    tensors, facts, config = Config.load(weights)
    generator = Generator(replace(config, precision="float32"))
    generator.load_state_dict(tensors)
    return generator.to(device), tuple(facts["classes"])


def main(arguments: list[str] | None = None) -> None:
    command(__doc__, PRESETS, R3GAN, open_generator, arguments)


if __name__ == "__main__":
    main()
