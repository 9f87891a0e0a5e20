"""What the rivals share: settings, changes of images, a run that resumes, samples, commands."""

import argparse
import json
import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from adm.data import Source, open_source
from adm.generation.labels import labels_of
from adm.images import to_uint8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run of any rival depends on besides its data.

    Attributes:
        image_channels, size: of the images; (H, W) is halved len(multipliers) - 1 times.
        classes: number of labels.
        channels: base width of both networks, which each of `multipliers` multiplies.
        multipliers: one a resolution, from the image's own; each further one halves both sides.
        noise: length of the noise.
        class_width: length of the embedding of a label.
        steps: of the generator.
        batch_size: real images of a step of the discriminator, and generated ones of either.
        changes: random changes of what the discriminator is shown: colour, translation, cutout.
        save_every: steps between two files of weights.
    """

    name: ClassVar[str]

    image_channels: int = 1
    size: tuple[int, ...] = (28, 28)
    classes: int = 10
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 8)
    noise: int = 60
    class_width: int = 64
    steps: int = 8000
    batch_size: int = 64
    changes: tuple[str, ...] = ("translation", "cutout")
    precision: str = "bfloat16"
    seed: int = 0
    save_every: int = 500

    def __post_init__(self) -> None:
        halvings = len(self.multipliers) - 1
        if halvings < 1 or any(side % 2**halvings for side in self.size):
            height, width = self.size
            raise ValueError(f"images of {height}x{width} cannot be halved {halvings} times")

    @property
    def widths(self) -> list[int]:
        """Channels at each resolution, from the image's own."""
        return [self.channels * multiplier for multiplier in self.multipliers]

    @property
    def smallest(self) -> list[int]:
        """Height and width of the innermost features."""
        return [side >> (len(self.multipliers) - 1) for side in self.size]

    @classmethod
    def load(cls, path: Path) -> tuple[dict[str, Tensor], dict[str, Any], Self]:
        """Return the tensors of a file of this rival, its facts, and its settings."""
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(cls.name)
            if text is None:
                raise ValueError(f"{path} is no file of this program")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(text)
        stored = facts["config"].items()
        return tensors, facts, cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored})


EMOJI: dict[str, Any] = {  # the settings of emoji that do not depend on the rival
    "image_channels": 3,
    "size": (32, 32),
    "classes": 9,
    "changes": ("colour", "translation", "cutout"),
}


class GeneratorBase(nn.Module):
    """noise (B, noise), label (B,) -> images (B, C, H, W) in [-1, 1]."""

    config: Settings


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


class Game:
    """Both networks, the average of the generator, and one step of their training.

    All random numbers are a function of (seed, step), so that a resumed run equals one that was
    not interrupted.
    """

    def __init__(
        self, config: Any, generator: GeneratorBase, critic: nn.Module, device: torch.device
    ) -> None:
        self.config, self.device, self.step = config, device, 0
        self.generator, self.critic = generator.to(device), critic.to(device)
        self.averaged = {k: v.detach().clone() for k, v in generator.named_parameters()}
        self.optimizers: dict[str, torch.optim.Adam] = {}

    @abstractmethod
    def learn(self, source: Source) -> dict[str, float]:
        """Take the steps of the discriminator, and then one of the generator; return the losses."""

    def average(self, decay: float) -> None:
        for name, parameter in self.generator.named_parameters():
            self.averaged[name].lerp_(parameter.detach(), 1 - decay)

    def change(self, images: Tensor, random: np.random.Generator) -> Tensor:
        uniforms = torch.from_numpy(random.random((len(images), 7), np.float32)).to(self.device)
        for name in self.config.changes:
            images = CHANGES[name](images, uniforms)
        return images

    def take_step(self, player: str, loss: float) -> float:
        """Take the step of an optimizer, whose gradients are there; return the loss."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"step {self.step + 1}: the loss of the {player} is {loss}")
        self.optimizers[player].step()
        return loss

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


def train(data: str, out: Path, run: Game, hours: float) -> None:
    """Train to the last step or for some core-hours; the same call continues.

    Writes `step-0000500.safetensors`, the weights to sample, every `save_every` steps, and
    `training.safetensors`, from which a run continues. Both have the processor's seconds so far.
    """
    config = run.config
    size, channels = (config.size[0], config.size[1]), config.image_channels
    source = open_source(data, size=size, channels=channels)
    if len(source.classes) != config.classes:
        raise ValueError(f"{data} has {len(source.classes)} classes; pass --classes with that")
    newest, before = out / "training.safetensors", -time.process_time()
    if newest.exists():
        tensors, facts, stored = config.load(newest)
        if replace(stored, steps=config.steps) != config:
            raise ValueError(f"{newest} has other settings; train in another folder")
        run.restore(tensors, facts["step"])
        before += facts["seconds"]
    known = {"config": asdict(config), "classes": source.classes, "data": data}
    ended = run.step >= config.steps
    while not ended:
        losses = run.learn(source)
        seconds = before + time.process_time()
        ended = run.step >= config.steps or seconds >= 3600 * hours
        if ended or run.step % 50 == 0:
            shown = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            print(f"step {run.step:,}, {seconds / 3600:.2f} core-hours: {shown}", flush=True)
        if ended or run.step % config.save_every == 0:
            buffers = dict(run.generator.named_buffers())
            facts = known | {"step": run.step, "seconds": seconds}
            file = out / f"step-{run.step:07d}.safetensors"
            save(file, run.averaged | buffers, config.name, facts)
            save(newest, run.tensors(), config.name, facts)


# Files: tensors, and facts about them as JSON in the metadata.


def save(path: Path, tensors: dict[str, Tensor], name: str, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    new = path.with_name(f".{path.name}")
    save_file(held, new, {name: json.dumps(facts)})
    os.replace(new, path)


# Sampling.

BLOCK = 16  # kernels round differently in batches of other sizes


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
def sample(
    generator: GeneratorBase, labels: list[int], truncation: float | None = None, seed: int = 0
) -> Tensor:
    """Return an image of each label, (N, C, H, W) uint8: a function of (label, place, seed).

    The generator is one that was opened for this truncation.
    """
    device, config, images = next(generator.parameters()).device, generator.config, list[Tensor]()
    for start in range(0, len(labels), BLOCK):
        label = torch.tensor(labels[start : start + BLOCK])
        filled = F.pad(label, (0, BLOCK - len(label)))
        noise = draw_noise(seed, range(start, start + BLOCK), config.noise, truncation)
        made = generator(noise.to(device), filled.to(device))
        images.append(to_uint8(made)[: len(label)].cpu())
    return torch.cat(images)


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


def command(
    about: str | None,
    presets: dict[str, Any],
    game_of: Callable[[Any, torch.device], Game],
    open_generator: Callable[
        [Path, torch.device, float | None], tuple[GeneratorBase, tuple[str, ...]]
    ],
    arguments: list[str] | None,
) -> None:
    """Train or sample, as a program is told by its arguments."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train", help="train, or continue")
    training.add_argument("--data", required=True, help="what `adm train --data` takes")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--preset", choices=presets, default="fashion")
    training.add_argument("--hours", type=float, default=math.inf, help="of a core, in all")
    for field in fields(presets["fashion"]):
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
            given = {field.name: getattr(args, field.name) for field in fields(presets["fashion"])}
            changed = {name: value for name, value in given.items() if value is not None}
            config = replace(presets[args.preset], **changed)
            train(args.data, args.out, game_of(config, device), args.hours)
        else:
            if args.truncation is not None and not args.truncation > 0:
                raise ValueError("truncation must be above 0")
            generator, classes = open_generator(args.weights, device, args.truncation)
            labels = labels_of(np.load(args.labels) if args.labels else args.classes, classes)[0]
            assert labels is not None
            images = sample(generator, labels, args.truncation, args.seed)
            write(args.out, images, labels, classes)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
