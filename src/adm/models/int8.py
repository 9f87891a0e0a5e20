"""DiffusionModel -> UNet whose 3x3 convolutions are rounded to 8 bits, calibrated on its samples.

A kernel has a factor per output channel, and its input one factor and one zero point. The factors
of inputs come from sampling: activations at every noise level and of all classes differ too much
for those of a single batch. The first and the last convolution, the residual sums, normalisation,
attention and the embeddings stay as they are.
"""

import copy
import math
from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.models.trained import DiffusionModel
from adm.networks import UNet
from adm.networks.blocks import ResidualBlock
from adm.samplers import DDIM, Grid, ImageNoise

IMAGES, STEPS, SEED = 16, 25, 2**63  # a seed that is unlikely to be sampled with
LARGEST_KERNEL, LARGEST_INPUT = 127, 255


class Rounded(nn.Module):
    """A convolution of kernel and inputs rounded to 8 bits.

    Args:
        low, high: range of its inputs; values outside are clipped.
    """

    def __init__(self, conv: nn.Conv2d, low: float, high: float) -> None:
        super().__init__()
        self.conv = conv
        self.factor = max(high - min(low, 0.0), 1e-6) / LARGEST_INPUT
        self.zero = round(-min(low, 0.0) / self.factor)
        largest = conv.weight.abs().amax((1, 2, 3)).clamp(min=1e-12)
        self.register_buffer("factors", largest / LARGEST_KERNEL)
        self.register_buffer("zeros", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        conv, top = self.conv, LARGEST_KERNEL
        x = torch.fake_quantize_per_tensor_affine(x, self.factor, self.zero, 0, LARGEST_INPUT)
        kernel = torch.fake_quantize_per_channel_affine(
            conv.weight, self.get_buffer("factors"), self.get_buffer("zeros"), 0, -top, top
        )
        return F.conv2d(x, kernel, conv.bias, padding=1)


def quantized(model: DiffusionModel) -> UNet:
    """Return a copy of the model's network with rounded convolutions."""
    network = copy.deepcopy(model.network)
    for name, (low, high) in calibrated(model).items():
        parent, _, own = name.rpartition(".")
        block = network.get_submodule(parent)
        setattr(block, own, Rounded(getattr(block, own), low, high))
    return network


def calibrated(model: DiffusionModel) -> dict[str, tuple[float, float]]:
    """Return the range of the inputs of each convolution in a residual block, by its name.

    The lower end is the least value. The upper end is the mean over noise levels of the largest:
    the few values above it matter less than the precision of all others. Both are rounded to powers
    of 2^(1/8), so that they do not depend on how kernels round.
    """
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def record(name: str, x: Tensor) -> None:
        seen[name].append((float(x.amin()), float(x.amax())))

    blocks = [
        (name, each)
        for name, each in model.network.named_modules()
        if isinstance(each, ResidualBlock)
    ]
    hooks = [
        getattr(block, own).register_forward_pre_hook(
            lambda _, inputs, name=f"{name}.{own}": record(name, inputs[0])
        )
        for name, block in blocks
        for own in ("conv_in", "conv_out")
    ]
    try:
        _sample(model)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: (
            _coarse(min(low for low, _ in each)),
            _coarse(sum(high for _, high in each) / len(each)),
        )
        for name, each in seen.items()
    }


@torch.inference_mode(False)
@torch.no_grad()
def _sample(model: DiffusionModel) -> None:
    """Sample a few images of all classes."""
    classes = model.network.config.classes
    labels = None if classes is None else torch.arange(IMAGES) * max(1, classes // IMAGES) % classes
    start = model.recipe.sample.grid.start or model.schedule.last
    schedule = Grid(steps=min(STEPS, start), start=start).of(model.schedule)
    noise = ImageNoise(SEED, range(IMAGES), model.shape, model.device)
    denoise = model.denoise(labels, schedule, network=model.network)  # whose layers are watched
    for _ in DDIM()(denoise, noise.start(), schedule, noise):
        pass


def _coarse(value: float) -> float:
    """Return the nearest power of 2^(1/8) of the same sign; 0 for 0."""
    if not value:
        return 0.0
    return math.copysign(2 ** (round(8 * math.log2(abs(value))) / 8), value)
