"""UNet, PreparedUNet -> the same network whose innermost attention is the identity.

Perturbed-attention guidance (Ahn et al. 2024) contrasts a network with such a copy, in which each
position of the middle block attends to itself alone: attention returns the values. The copy has the
tensors of the network, and hardly any memory of its own.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.networks.blocks import Attention
from adm.networks.inference import PreparedUNet
from adm.networks.prepared_layers import Attends, WithMoments
from adm.networks.unet import UNet

Network = TypeVar("Network", bound=UNet | PreparedUNet)


class Alone(nn.Module):
    """`Attention` in which each position attends to itself: features (B, C, H, W) -> the same."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = attention.norm, attention.qkv, attention.out

    def forward(self, x: Tensor) -> Tensor:
        _, _, weight = self.qkv.weight.chunk(3)
        assert self.qkv.bias is not None
        _, _, bias = self.qkv.bias.chunk(3)
        h = self.out(F.conv1d(self.norm(x).flatten(2), weight, bias))
        return x + h.reshape(x.shape)


class PreparedAlone(nn.Module):
    """`Attends` in which each position attends to itself."""

    def __init__(self, attention: Attends) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, features: WithMoments) -> WithMoments:
        attention = self.attention
        (_, _, weight), (_, _, bias) = attention.qkv.chunk(3), attention.qkv_bias.chunk(3)
        h = attention.norm(features, silu=False).permute(0, 2, 3, 1)  # (B, H, W, C)
        h = F.linear(F.linear(h, weight, bias), attention.out, attention.out_bias)
        return WithMoments(features.x + h.permute(0, 3, 1, 2))


@torch.inference_mode(False)
def perturbed(network: Network) -> Network:
    """Return a network with the same tensors whose innermost attention is the identity.

    The innermost attention is that of the middle block, which every U-Net of this package has.

    Args:
        network: is not changed, and what changes its tensors in place changes the copy.
    """
    shared = {id(each): each for each in (*network.parameters(), *network.buffers())}
    changed = copy.deepcopy(network, shared)  # the modules alone are copied
    if isinstance(changed, UNet):
        attention = changed.encoder.middle_attention
        assert isinstance(attention, Attention)
        changed.encoder.add_module("middle_attention", Alone(attention))
    else:
        attends = changed.encoder.attention
        assert isinstance(attends, Attends)
        changed.encoder.add_module("attention", PreparedAlone(attends))
    return changed
