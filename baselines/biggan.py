"""Images, labels -> a BigGAN -> samples: the rival of the paper, in one file read top to bottom.

    python baselines/biggan.py train --data fashion-mnist --out runs/biggan --hours 1
    python baselines/biggan.py sample runs/biggan/step-0006500.safetensors --out out/gan \
        --classes all:8 --truncation 1
    adm evaluate out/gan --reference fashion-mnist --split test

A generator makes an image in one call, from noise and a label; a discriminator learns to tell its
images from real ones, and the generator learns from that (Brock et al. 2019, "Large scale GAN
training for high fidelity natural image synthesis"). Data come from `adm.data`, and samples go to
`adm evaluate`; nothing else is shared with the diffusion models. `fashion-biggan.safetensors` and
`emoji-biggan.safetensors`, beside this file, are trained weights.

Letters in shapes: B images, C channels, H and W pixels, E width of a block's condition.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from rival import EMOJI, Game, GeneratorBase, Settings, command, draw_noise
from torch import Tensor, nn
from torch.nn import functional as F

from adm.data import Source, shuffle
from adm.images import to_float


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """What a BigGAN depends on besides.

    Each block of the generator has a piece of the noise of its own, and the first layer the first.

    Attributes:
        critic_steps: steps of the discriminator for each of the generator.
        rate, critic_rate: learning rates of the generator and of the discriminator.
        average: decay of the average of the generator's weights, which is the model.
        orthogonal: factor of the generator's orthogonal regularisation.
    """

    name: ClassVar[str] = "biggan"

    critic_steps: int = 2
    rate: float = 2e-4
    critic_rate: float = 4e-4
    average: float = 0.999
    orthogonal: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise % (pieces := len(self.multipliers)):
            raise ValueError(f"noise={self.noise} does not split into {pieces} equal pieces")


PRESETS = {
    "fashion": Config(),
    "emoji": Config(**EMOJI, multipliers=(1, 2, 4, 8), noise=80),
}


# Spectral normalisation: weights whose largest singular value is 1 (Miyato et al. 2018). The
# largest singular value of W, as a matrix with a row for each output, is |W' u| for its left
# singular vector u. A layer keeps an estimate of u, which one step of power iteration for each
# optimizer step improves: weights change slowly. u is a constant for the gradient.


class Spectral(nn.Module):
    """A layer whose weight is divided by its largest singular value."""

    weight: Tensor
    bias: Tensor | None
    u: Tensor

    def prepare(self) -> None:
        """Initialise the weight to orthogonal rows or columns, and `u`."""
        nn.init.orthogonal_(self.weight)
        if getattr(self, "bias", None) is not None:
            nn.init.zeros_(self.bias)
        self.register_buffer("u", F.normalize(torch.randn(len(self.weight)), dim=0))

    @property
    def normalised(self) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):
            size = torch.mv(self.weight.flatten(1).T, self.u).norm()
            return self.weight / size.clamp(min=1e-12)

    @torch.no_grad()
    def improve(self) -> None:
        """Take one step of power iteration, u <- W W' u / |W W' u|."""
        matrix = self.weight.flatten(1)
        self.u.copy_(F.normalize(matrix @ (matrix.T @ self.u), dim=0, eps=1e-12))

    @torch.no_grad()
    def make_exact(self) -> None:
        """Compute `u` by an eigendecomposition, as averaged weights need: no step has seen them."""
        matrix = self.weight.flatten(1).double().cpu()
        if matrix.shape[0] > matrix.shape[1]:  # W' W is smaller, with eigenvectors v, and u ~ W v
            last = matrix @ torch.linalg.eigh(matrix.T @ matrix).eigenvectors[:, -1]
        else:
            last = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -1]
        self.u = F.normalize(last, dim=0, eps=1e-12).to(self.weight)


class Conv2d(Spectral, nn.Conv2d):
    """A convolution that preserves height and width."""

    def __init__(self, channels: int, out_channels: int, kernel: int, bias: bool = True) -> None:
        nn.Conv2d.__init__(self, channels, out_channels, kernel, padding=kernel // 2, bias=bias)
        self.prepare()

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.normalised, self.bias)


class Linear(Spectral, nn.Linear):
    def __init__(self, width: int, out_width: int, bias: bool = True) -> None:
        nn.Linear.__init__(self, width, out_width, bias)
        self.prepare()

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.normalised, self.bias)


class Embedding(Spectral, nn.Embedding):
    def __init__(self, count: int, width: int) -> None:
        nn.Embedding.__init__(self, count, width)
        self.prepare()

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.normalised)


def spectral_layers(network: nn.Module) -> Iterator[Spectral]:
    return (module for module in network.modules() if isinstance(module, Spectral))


def improve(network: nn.Module) -> None:
    """Improve the estimate of every layer; once before each optimizer step."""
    for layer in spectral_layers(network):
        layer.improve()


def orthogonality(network: nn.Module) -> Tensor:
    """The sum over layers of |W W' * (1 - I)|^2: rows shall be orthogonal (equation 3)."""
    total = torch.zeros(())
    for layer in spectral_layers(network):
        matrix = layer.weight.flatten(1)
        # |W W'| = |W' W|, of which the smaller is computed: a first layer has many rows.
        narrow = matrix.shape[0] > matrix.shape[1]
        gram = matrix.T @ matrix if narrow else matrix @ matrix.T
        total = total.to(gram) + gram.square().sum() - matrix.square().sum(1).square().sum()
    return total


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) without parameters.

    In training the statistics are those of the batch. Samples have constants instead, so that an
    image does not depend on the others of its batch; `settle` measures them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.statistics: tuple[Tensor, Tensor] | None = None  # mean and variance, (C,)
        self.batches: list[tuple[Tensor, Tensor]] | None = None  # while `settle` measures

    def forward(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """(B, C, H, W), gain and bias (B, C) or (1, C) -> (B, C, H, W)."""
        if self.training or self.statistics is None:
            h, count = x.float(), x.numel() / x.shape[1]
            mean = h.sum((0, 2, 3)) / count
            # Of differences from the mean: squares would cancel where it is large.
            variance = (h - mean[:, None, None]).square().sum((0, 2, 3)) / count
            if self.batches is not None:
                self.batches.append((mean, variance))
        else:
            mean, variance = self.statistics
        factor = gain.float() * (variance + 1e-5).rsqrt()
        offset = bias.float() - mean * factor
        factor, offset = (t.to(x.dtype)[:, :, None, None] for t in (factor, offset))
        return torch.addcmul(offset, x, factor)


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain and bias are linear functions of a condition, then ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = BatchNorm()
        self.gain = Linear(width, channels, bias=False)
        self.bias = Linear(width, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C, H, W)."""
        return F.relu(self.norm(x, 1 + self.gain(condition).float(), self.bias(condition)))


class GeneratorBlock(nn.Module):
    """Two convolutions; doubles height and width (figure 15b)."""

    def __init__(self, channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.norm_in = ConditionalBatchNorm(channels, width)
        self.conv_in = Conv2d(channels, out_channels, 3)
        self.norm_out = ConditionalBatchNorm(out_channels, width)
        self.conv_out = Conv2d(out_channels, out_channels, 3)
        self.skip = Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv_in(F.interpolate(self.norm_in(x, condition), scale_factor=2.0))
        h = self.conv_out(self.norm_out(h, condition))
        # A convolution of kernel size 1 before the upsampling is the same, and four times cheaper.
        return h + F.interpolate(self.skip(x), scale_factor=2.0)


class Generator(GeneratorBase):
    """noise, label -> image (figure 15a)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.label_embedding = nn.Embedding(config.classes, config.class_width)
        nn.init.orthogonal_(self.label_embedding.weight)
        widths, piece = config.widths, config.noise // len(config.multipliers)
        self.first = Linear(piece, widths[-1] * math.prod(config.smallest))
        self.stages = nn.ModuleList()  # from the innermost resolution to the image's own
        for halvings in reversed(range(1, len(widths))):
            condition = piece + config.class_width
            self.stages.append(GeneratorBlock(widths[halvings], widths[halvings - 1], condition))
        self.norm = BatchNorm()
        self.gain = nn.Parameter(torch.ones(1, widths[0]))
        self.bias = nn.Parameter(torch.zeros(1, widths[0]))
        self.conv_out = Conv2d(widths[0], config.image_channels, 3)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """(B, noise) standard normal or truncated, (B,) int64 -> (B, C, H, W) in [-1, 1]."""
        shared = self.label_embedding(label)
        first, *pieces = noise.chunk(len(self.config.multipliers), dim=1)
        h = self.first(first).view(len(first), -1, *self.config.smallest)
        h = h.contiguous(memory_format=torch.channels_last)  # faster convolutions
        for stage, piece in zip(self.stages, pieces, strict=True):
            h = stage(h, torch.cat([piece, shared], dim=1))
        h = F.relu(self.norm(h, self.gain, self.bias))
        return self.conv_out(h).float().tanh()


class DiscriminatorBlock(nn.Module):
    """Two convolutions; halves height and width if `shrinks` (figure 15c)."""

    def __init__(self, channels: int, out_channels: int, shrinks: bool, first: bool) -> None:
        super().__init__()
        self.first = first  # no activation precedes an image
        self.shrink = nn.AvgPool2d(2) if shrinks else nn.Identity()
        self.conv_in = Conv2d(channels, out_channels, 3)
        self.conv_out = Conv2d(out_channels, out_channels, 3)
        same = channels == out_channels and not shrinks
        self.skip = nn.Identity() if same else Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x if self.first else F.relu(x))
        h = self.conv_out(F.relu(h))
        return self.shrink(h) + self.skip(self.shrink(x))


class Discriminator(nn.Module):
    """image, label -> logit of being real: a projection of the label (Miyato & Koyama 2018)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        width, last = config.image_channels, len(config.multipliers) - 1
        for halvings, next_width in enumerate(config.widths):
            first, shrinks = halvings == 0, halvings < last
            self.stages.append(DiscriminatorBlock(width, next_width, shrinks, first))
            width = next_width
        self.head = Linear(width, 1)
        self.label_embedding = Embedding(config.classes, width)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1], (B,) int64 -> (B,): l(h) + <embedding, h> of summed features."""
        h = x.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            h = stage(h)
        features = F.relu(h).float().sum((2, 3))
        with torch.autocast(x.device.type, enabled=False):
            return self.head(features)[:, 0] + (self.label_embedding(label) * features).sum(1)


# The hinge loss (Lim & Ye 2017).


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logits of real and of generated images -> scalar."""
    return (F.relu(1 - real) + F.relu(1 + fake)).mean()


def generator_loss(fake: Tensor) -> Tensor:
    return -fake.mean()


# Training.


class BigGAN(Game):
    """Both networks, and one step of their training."""

    def __init__(self, config: Config, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        super().__init__(config, Generator(config), Discriminator(config), device)
        # Momentum is left out, as in the paper (appendix C).
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), config.rate, (0.0, 0.999)),
            "critic": torch.optim.Adam(self.critic.parameters(), config.critic_rate, (0.0, 0.999)),
        }

    def descend(self, player: str, loss: Tensor, penalty: Tensor | float = 0.0) -> float:
        """Take one step of an optimizer; return the loss without the penalty."""
        self.optimizers[player].zero_grad()
        (loss + penalty).backward()
        return self.take_step(player, loss.item())

    def learn(self, source: Source) -> dict[str, float]:
        config, losses = self.config, {}
        random = np.random.default_rng([config.seed, self.step])
        size = config.batch_size
        start = self.step * config.critic_steps * size
        indices = shuffle(config.seed, len(source), start, config.critic_steps * size)
        for each in range(config.critic_steps):
            improve(self.critic)
            images, label = source.batch(indices[each * size : (each + 1) * size])
            real, label = to_float(images).to(self.device), label.to(self.device)
            with torch.no_grad():
                fake = self.generate(random, label)
            # One pass over both.
            shown = self.change(torch.cat([real, fake]), random)
            with self.autocast():
                logits = self.critic(shown, label.repeat(2))
            losses["critic"] = self.descend("critic", critic_loss(*logits.chunk(2)))
        improve(self.generator)
        self.critic.requires_grad_(False)
        with self.autocast():
            logits = self.critic(self.change(self.generate(random, label), random), label)
        losses["generator"] = self.descend(
            "generator", generator_loss(logits), config.orthogonal * orthogonality(self.generator)
        )
        self.critic.requires_grad_(True)
        # The decay rises, as the first weights are random.
        self.average(min(config.average, (1 + self.step) / (10 + self.step)))
        self.step += 1
        return losses

    def generate(self, random: np.random.Generator, label: Tensor) -> Tensor:
        shape = len(label), self.config.noise
        noise = torch.from_numpy(random.standard_normal(shape, np.float32)).to(self.device)
        with self.autocast():
            return self.generator(noise, label)

    def autocast(self) -> torch.autocast:
        half = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)


# Sampling.

STATISTICS = range(2**62, 2**62 + 4096)  # indices of the images of the statistics: of no sample


@torch.no_grad()
def settle(generator: Generator, limit: float | None, indices: range = STATISTICS) -> None:
    """Measure the statistics of batch normalisation; leave the generator in evaluation mode.

    They are those of noise of this limit, which truncation changes (section 3.1, appendix B), of
    images whose labels take turns.
    """
    layers = [module for module in generator.modules() if isinstance(module, BatchNorm)]
    generator.train()
    for layer in layers:
        layer.batches = []
    for start in range(0, len(indices), 256):
        part = indices[start : start + 256]
        noise = draw_noise(0, part, generator.config.noise, limit)
        label = (torch.arange(len(part)) + start) % generator.config.classes
        generator(noise.to(generator.gain.device), label.to(generator.gain.device))
    for layer in layers:
        assert layer.batches, "no batch was measured"
        means, variances = map(torch.stack, zip(*layer.batches, strict=True))
        spread = (means - means.mean(0)).square()
        layer.statistics, layer.batches = (means.mean(0), (variances + spread).mean(0)), None
    generator.eval()


def open_generator(
    weights: Path, device: torch.device, truncation: float | None, indices: range = STATISTICS
) -> tuple[Generator, tuple[str, ...]]:
    """Return the generator of a file of weights for a truncation, and the names of its classes."""
    tensors, facts, config = Config.load(weights)
    generator = Generator(config)
    generator.load_state_dict(tensors)
    for layer in spectral_layers(generator):
        layer.make_exact()
    settle(generator.to(device), truncation, indices)
    return generator, tuple(facts["classes"])


def main(arguments: list[str] | None = None) -> None:
    command(__doc__, PRESETS, BigGAN, open_generator, arguments)


if __name__ == "__main__":
    main()
