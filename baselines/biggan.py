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

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from adm.data import Source, open_source, shuffle
from adm.generation.labels import labels_of
from adm.images import to_float, to_uint8


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run depends on besides its data.

    Attributes:
        image_channels, size: of the images; (H, W) is halved len(multipliers) - 1 times.
        classes: number of labels.
        channels: base width of both networks, which each of `multipliers` multiplies.
        multipliers: one a resolution, from the image's own; each further one halves both sides.
        noise: length of the noise; each block of the generator gets a piece of it of its own, and
            the first layer the first piece.
        class_width: length of the embedding of a label, which all blocks of the generator share.
        steps: of the generator.
        batch_size: real images of a step of the discriminator, and generated ones of either.
        critic_steps: steps of the discriminator for each of the generator.
        rate, critic_rate: learning rates of the generator and of the discriminator.
        average: decay of the average of the generator's weights, which is the model.
        orthogonal: factor of the generator's orthogonal regularisation.
        changes: random changes of what the discriminator is shown: colour, translation, cutout.
        save_every: steps between two files of weights.
    """

    image_channels: int = 1
    size: tuple[int, ...] = (28, 28)
    classes: int = 10
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 8)
    noise: int = 60
    class_width: int = 64
    steps: int = 8000
    batch_size: int = 64
    critic_steps: int = 2
    rate: float = 2e-4
    critic_rate: float = 4e-4
    average: float = 0.999
    orthogonal: float = 1e-4
    changes: tuple[str, ...] = ("translation", "cutout")
    precision: str = "bfloat16"
    seed: int = 0
    save_every: int = 500

    def __post_init__(self) -> None:
        halvings = len(self.multipliers) - 1
        if halvings < 1 or any(side % 2**halvings for side in self.size):
            height, width = self.size
            raise ValueError(f"images of {height}x{width} cannot be halved {halvings} times")
        if self.noise % (halvings + 1):
            raise ValueError(f"noise={self.noise} does not split into {halvings + 1} equal pieces")

    @property
    def widths(self) -> list[int]:
        """Channels at each resolution, from the image's own."""
        return [self.channels * multiplier for multiplier in self.multipliers]

    @property
    def smallest(self) -> list[int]:
        """Height and width of the innermost features."""
        return [side >> (len(self.multipliers) - 1) for side in self.size]


PRESETS = {
    "fashion": Config(),
    "emoji": Config(
        image_channels=3,
        size=(32, 32),
        classes=9,
        multipliers=(1, 2, 4, 8),
        noise=80,
        changes=("colour", "translation", "cutout"),
    ),
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


class Generator(nn.Module):
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


# Differentiable augmentation (Zhao et al. 2020): the discriminator sees real and generated images
# through the same kinds of random changes, so that it cannot learn a small data set by heart, and
# the generator does not learn the changes. Each takes (B, C, H, W) and (B, 7) uniform numbers.


def recolour(images: Tensor, uniforms: Tensor) -> Tensor:
    """Change the brightness by up to 0.5, the saturation up to twofold, the contrast by half."""
    brightness, saturation, contrast = uniforms[:, :3, None, None, None].unbind(1)
    x = images + brightness - 0.5
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    level = x.mean((1, 2, 3), keepdim=True)
    return level + (x - level) * (contrast + 0.5)


def translate(images: Tensor, uniforms: Tensor) -> Tensor:
    """Shift by up to an eighth of each side; what enters is 0."""
    places = []
    for side, u in zip(images.shape[2:], uniforms[:, 3:5].unbind(1), strict=True):
        most = int(side / 8 + 0.5)
        shift = (u * (2 * most + 1)).long() - most
        taken = torch.arange(side, device=u.device) + 1 + shift[:, None]  # in a border of 1
        places.append(taken.clamp(0, side + 1))
    padded = F.pad(images, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[numbers, places[0][:, :, None], places[1][:, None, :]].permute(0, 3, 1, 2)


def cut_out(images: Tensor, uniforms: Tensor) -> Tensor:
    """Set a rectangle of half of each side, with its centre anywhere, to 0."""
    outside = []
    for side, u in zip(images.shape[2:], uniforms[:, 5:7].unbind(1), strict=True):
        cut = int(side / 2 + 0.5)
        first = (u * (side + 1 - cut % 2)).long() - cut // 2  # may lie outside
        place = torch.arange(side, device=u.device)
        outside.append((place < first[:, None]) | (place >= first[:, None] + cut))
    return images * (outside[0][:, None, :, None] | outside[1][:, None, None, :])


CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "colour": recolour,
    "translation": translate,
    "cutout": cut_out,
}


# Training.


class Training:
    """Both networks, the average of the generator, and one step of their training.

    All random numbers are a function of (seed, step), so that a resumed run equals one that was
    not interrupted.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device, self.step = config, device, 0
        torch.manual_seed(config.seed)
        self.generator = Generator(config).to(device)
        self.critic = Discriminator(config).to(device)
        self.averaged = {k: v.detach().clone() for k, v in self.generator.named_parameters()}
        # Momentum is left out, as in the paper (appendix C).
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), config.rate, (0.0, 0.999)),
            "critic": torch.optim.Adam(self.critic.parameters(), config.critic_rate, (0.0, 0.999)),
        }

    def learn(self, source: Source) -> dict[str, float]:
        """Take the steps of the discriminator, and then one of the generator; return the losses."""
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
        decay = min(config.average, (1 + self.step) / (10 + self.step))
        for name, parameter in self.generator.named_parameters():
            self.averaged[name].lerp_(parameter.detach(), 1 - decay)
        self.step += 1
        return losses

    def generate(self, random: np.random.Generator, label: Tensor) -> Tensor:
        shape = len(label), self.config.noise
        noise = torch.from_numpy(random.standard_normal(shape, np.float32)).to(self.device)
        with self.autocast():
            return self.generator(noise, label)

    def change(self, images: Tensor, random: np.random.Generator) -> Tensor:
        uniforms = torch.from_numpy(random.random((len(images), 7), np.float32)).to(self.device)
        for name in self.config.changes:
            images = CHANGES[name](images, uniforms)
        return images

    def autocast(self) -> torch.autocast:
        half = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def descend(self, name: str, loss: Tensor, penalty: Tensor | float = 0.0) -> float:
        """Take one step of an optimizer; return the loss."""
        optimizer = self.optimizers[name]
        if not loss.isfinite():
            raise FloatingPointError(f"step {self.step + 1}: the loss of the {name} is {loss}")
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        return loss.item()

    def tensors(self) -> dict[str, Tensor]:
        """All state, by name."""
        networks = {"generator": self.generator, "critic": self.critic}
        found = {f"average/{name}": tensor for name, tensor in self.averaged.items()}
        for player, network in networks.items():
            found |= {f"{player}/{name}": t for name, t in network.state_dict().items()}
            for number, slots in self.optimizers[player].state_dict()["state"].items():
                found |= {f"{player}-adam/{number}/{slot}": t for slot, t in slots.items()}
        return found

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Continue from the tensors of another run's `tensors`."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.step = step
        self.averaged = {k: v.to(self.device) for k, v in under("average/").items()}
        for player, optimizer in self.optimizers.items():
            getattr(self, player).load_state_dict(under(f"{player}/"))
            slots: dict[int, dict[str, Tensor]] = {}
            for name, tensor in under(f"{player}-adam/").items():
                number, _, slot = name.partition("/")
                slots.setdefault(int(number), {})[slot] = tensor
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": slots, "param_groups": groups})


def train(data: str, out: Path, config: Config, hours: float, device: torch.device) -> None:
    """Train to the last step or for some hours; the same call continues.

    Writes `step-0000500.safetensors`, the weights to sample, every `save_every` steps, and
    `training.safetensors`, from which a run continues.
    """
    size, channels = (config.size[0], config.size[1]), config.image_channels
    source = open_source(data, size=size, channels=channels)
    if len(source.classes) != config.classes:
        raise ValueError(f"{data} has {len(source.classes)} classes; pass --classes with that")
    run, newest, start = Training(config, device), out / "training.safetensors", time.monotonic()
    if newest.exists():
        tensors, stored = load(newest)
        if replace(config_of(stored), steps=config.steps) != config:
            raise ValueError(f"{newest} has other settings; train in another folder")
        run.restore(tensors, stored["step"])
    known = {"config": asdict(config), "classes": source.classes, "data": data}
    ended = run.step >= config.steps
    while not ended:
        losses = run.learn(source)
        ended = run.step >= config.steps or time.monotonic() > start + 3600 * hours
        if ended or run.step % 50 == 0:
            shown = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            print(f"step {run.step:,}: {shown}", flush=True)
        if ended or run.step % config.save_every == 0:
            buffers = dict(run.generator.named_buffers())
            facts = known | {"step": run.step}
            save(out / f"step-{run.step:07d}.safetensors", run.averaged | buffers, facts)
            save(newest, run.tensors(), facts)


# Files: tensors, and facts about them as JSON in the metadata.


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    new = path.with_name(f".{path.name}")
    save_file(held, new, {"biggan": json.dumps(facts)})
    os.replace(new, path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        facts = (file.metadata() or {}).get("biggan")
        if facts is None:
            raise ValueError(f"{path} is no file of this program")
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(facts)  # noqa: SIM118


def config_of(facts: dict[str, Any]) -> Config:
    stored = facts["config"].items()
    return Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored})


# Sampling.

BLOCK = 16  # kernels round differently in batches of other sizes
STATISTICS = range(2**62, 2**62 + 4096)  # indices of the images of the statistics: of no sample


def draw_noise(seed: int, indices: Iterable[int], width: int, limit: float | None) -> Tensor:
    """Standard normal noise (B, width) whose entries are conditioned on |z| <= limit.

    z = Phi^-1(Phi(-limit) + u (1 - 2 Phi(-limit))) for uniform u has the distribution of redrawing
    entries until they are in the range (section 3.1), and an image changes continuously with the
    limit. u is a function of (seed, index).
    """
    keys = (np.array([seed, index], np.uint64) for index in indices)
    uniforms = np.stack([np.random.Generator(np.random.Philox(key=k)).random(width) for k in keys])
    below = 0.0 if limit is None else 0.5 * math.erfc(limit / math.sqrt(2))
    u = torch.from_numpy(below + uniforms * (1 - 2 * below))
    tiny = torch.finfo(torch.float64).tiny  # u may be 0, whose normal quantile is infinite
    noise = torch.special.ndtri(u.clamp(min=tiny)).float()
    return noise if limit is None else noise.clamp(-limit, limit)


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


@torch.no_grad()
def sample(
    generator: Generator, labels: list[int], truncation: float | None = None, seed: int = 0
) -> Tensor:
    """Return an image of each label, (N, C, H, W) uint8: a function of (label, place, seed).

    The generator is one that `settle` has left for this truncation.
    """
    device, images = generator.gain.device, list[Tensor]()
    for start in range(0, len(labels), BLOCK):
        label = torch.tensor(labels[start : start + BLOCK])
        filled = F.pad(label, (0, BLOCK - len(label)))
        noise = draw_noise(seed, range(start, start + BLOCK), generator.config.noise, truncation)
        made = generator(noise.to(device), filled.to(device))
        images.append(to_uint8(made)[: len(label)].cpu())
    return torch.cat(images)


def open_generator(weights: Path, device: torch.device) -> tuple[Generator, tuple[str, ...]]:
    """Return the generator of a file of weights, and the names of its classes."""
    tensors, facts = load(weights)
    generator = Generator(config_of(facts))
    generator.load_state_dict(tensors)
    for layer in spectral_layers(generator):
        layer.make_exact()
    return generator.to(device), tuple(facts["classes"])


def write(out: Path, images: Tensor, labels: list[int], classes: tuple[str, ...]) -> None:
    """Write `samples.npz`, which `adm evaluate` scores, and a picture of the first images."""
    out.mkdir(parents=True, exist_ok=True)
    pixels = images.permute(0, 2, 3, 1).numpy()
    new = out / ".samples.npz"
    np.savez(new, arr_0=pixels, arr_1=np.array(labels), classes=np.array(classes))
    os.replace(new, out / "samples.npz")
    columns = min(len(pixels), 8)
    rows = min(len(pixels) // columns, 10)
    count, height, width, channels = pixels[: rows * columns].shape
    cells = pixels[:count].reshape(rows, columns, height, width, channels)
    picture = cells.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    Image.fromarray(picture.squeeze()).save(out / "grid.png")


# Command line.


def option(default: Any) -> Callable[[str], Any]:
    """Return the reader of a setting: of one value, or of several as in 1,2,8."""
    if not isinstance(default, tuple):
        return type(default)
    return lambda text: tuple(type(default[0])(part) for part in text.split(",") if part)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train", help="train, or continue")
    training.add_argument("--data", required=True, help="what `adm train --data` takes")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--preset", choices=PRESETS, default="fashion")
    training.add_argument("--hours", type=float, default=math.inf)
    for field in fields(Config):
        flag = f"--{field.name.replace('_', '-')}"
        training.add_argument(flag, type=option(field.default), metavar="VALUE")
    sampling = verbs.add_parser("sample", help="sample weights")
    sampling.add_argument("weights", type=Path)
    sampling.add_argument("--out", type=Path, required=True)
    sampling.add_argument("--classes", help="with counts, as in all:8 or sneaker:16,bag:4")
    sampling.add_argument("--labels", type=Path, help="an .npy file: a label for each image")
    sampling.add_argument("--truncation", type=float, help="of the noise; none by default")
    sampling.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    device = torch.device(args.device)
    try:
        if args.verb == "train":
            given = {field.name: getattr(args, field.name) for field in fields(Config)}
            changed = {name: value for name, value in given.items() if value is not None}
            train(args.data, args.out, replace(PRESETS[args.preset], **changed), args.hours, device)
        else:
            generator, classes = open_generator(args.weights, device)
            if args.truncation is not None and not args.truncation > 0:
                raise ValueError("truncation must be above 0")
            labels = labels_of(np.load(args.labels) if args.labels else args.classes, classes)[0]
            assert labels is not None
            settle(generator, args.truncation)
            images = sample(generator, labels, args.truncation, args.seed)
            write(args.out, images, labels, classes)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
