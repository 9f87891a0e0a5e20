"""UNet, Classifier -> the same function of fixed weights, optimised for speed.

`prepared` copies a network for sampling. The copy rounds differently from the network, and is
differentiable with respect to the images alone.
"""

import copy
from typing import TypeAlias

import torch
from torch import Tensor, nn

from adm.networks.blocks import Attention, Downsample, ResidualBlock, Upsample
from adm.networks.classifier import Classifier
from adm.networks.encoder import Encoder, Stage
from adm.networks.norm import GroupNorm
from adm.networks.prepared_layers import (
    LAST,
    Attends,
    Conv,
    Norm,
    Projections,
    Residual,
    Resized,
    WithMoments,
)
from adm.networks.unet import UNet, embedded, with_low_res


class Staged(nn.Module):
    """`Stage`: features, all projections -> features."""

    def __init__(self, stage: nn.Module, dtype: torch.dtype, projections: Projections) -> None:
        super().__init__()
        assert isinstance(stage, Stage)
        layers = [stage.block, stage.attention, stage.resize]
        self.layers = nn.ModuleList(
            _layer(layer, dtype, projections) for layer in layers if layer is not None
        )

    def forward(self, features: WithMoments, projected: tuple[Tensor, ...]) -> WithMoments:
        for layer in self.layers:
            if isinstance(layer, Residual):
                features = layer(features, projected)
            elif isinstance(layer, Conv):
                features = WithMoments(layer(features.x))
            else:
                features = layer(features)
        return features


class Encoding(nn.Module):
    """`Encoder`: x_t, all projections -> features of every stage, then of the middle."""

    def __init__(self, encoder: Encoder, dtype: torch.dtype, projections: Projections) -> None:
        super().__init__()
        self.dtype = dtype
        self.stages = nn.ModuleList(Staged(s, dtype, projections) for s in encoder.stages)
        middle = (encoder.middle_in, encoder.middle_attention, encoder.middle_out)
        first, attention, last = (_layer(layer, dtype, projections) for layer in middle)
        self.first, self.attention, self.last = first, attention, last

    def forward(self, x: Tensor, projected: tuple[Tensor, ...]) -> list[WithMoments]:
        features = WithMoments(x.to(self.dtype).contiguous(memory_format=LAST))
        outputs = []
        for stage in self.stages:
            features = stage(features, projected)
            outputs.append(features)
        middle = self.attention(self.first(features, projected))
        return [*outputs, self.last(middle, projected)]


class PreparedUNet(nn.Module):
    """`UNet`, prepared; its output is float32."""

    def __init__(self, network: UNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.projections = network.config, Projections()
        self.step_embedding = copy.deepcopy(network.step_embedding)
        if network.config.classes is not None:
            self.label_embedding = copy.deepcopy(network.label_embedding)
        self.condition_embeddings = copy.deepcopy(network.condition_embeddings)
        self.encoder = Encoding(network.encoder, dtype, self.projections)
        self.decoder = nn.ModuleList(Staged(s, dtype, self.projections) for s in network.decoder)
        norm, _, conv = network.head
        assert isinstance(norm, GroupNorm)
        assert isinstance(conv, nn.Conv2d)
        # The last convolution is cheap, and its output is the result.
        self.norm, self.conv = Norm(norm, torch.float32), Conv(conv, torch.float32)
        self.projections.join()

    def forward(
        self,
        x_t: Tensor,
        timestep: Tensor,
        label: Tensor | None = None,
        low_res: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """Raw output for noisy images; see `UNet.forward`."""
        self.config.check_size(x_t.shape[2:])
        self.config.check_inputs(label, low_res, conditions)
        projected = self.projections(embedded(self, timestep, label, conditions))
        *skips, features = self.encoder(with_low_res(x_t, low_res), projected)
        for stage in self.decoder:
            features = stage(features.concatenate(skips.pop()), projected)
        return self.conv(self.norm(features)).contiguous()


class PreparedClassifier(nn.Module):
    """`Classifier`, prepared; its logits are float32."""

    def __init__(self, network: Classifier, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.projections = network.config, Projections()
        self.step_embedding = copy.deepcopy(network.step_embedding)
        self.encoder = Encoding(network.encoder, dtype, self.projections)
        self.head = copy.deepcopy(network.head)
        self.projections.join()

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Classify noisy images; see `Classifier.forward`."""
        self.config.check_images(x_t.shape[2:])
        projected = self.projections(self.step_embedding(timestep))
        return self.head([f.x.float() for f in self.encoder(x_t, projected)])


Prepared: TypeAlias = PreparedUNet | PreparedClassifier


@torch.inference_mode(False)  # whose tensors no gradient could pass
@torch.no_grad()
def prepared(network: UNet | Classifier, dtype: torch.dtype = torch.float32) -> Prepared:
    """Return a copy of a network, optimised for speed.

    Args:
        network: is not changed, and what changes it later does not change the copy.
        dtype: of weights and features; embeddings, statistics, softmax and output are float32.
    """
    if isinstance(network, UNet):
        copied: Prepared = PreparedUNet(network, dtype)
    else:
        copied = PreparedClassifier(network, dtype)
    return copied.to(next(network.parameters()).device).eval().requires_grad_(False)


def _layer(layer: nn.Module, dtype: torch.dtype, projections: Projections) -> nn.Module:
    if isinstance(layer, ResidualBlock):
        return Residual(layer, dtype, projections)
    if isinstance(layer, Attention):
        return Attends(layer, dtype)
    if isinstance(layer, nn.Conv2d):
        return Conv(layer, dtype)
    assert isinstance(layer, Downsample | Upsample)
    return Resized(layer, dtype)
