"""PreparedUNet -> the same network whose innermost attention is the identity.

Perturbed-attention guidance (Ahn et al. 2024) contrasts a network with such a copy, in which each
position of the middle block attends to itself alone: attention returns the values. The copy has the
tensors of the network, and hardly any memory of its own.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from adm.networks.inference import PreparedUNet
from adm.networks.prepared_layers import Attends, WithMoments


class Alone(nn.Module):
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
def perturbed(network: PreparedUNet) -> PreparedUNet:
    """Return a network with the same tensors whose innermost attention is the identity.

    The innermost attention is that of the middle block, which every U-Net of this package has.

    Args:
        network: is not changed, and what changes its tensors in place changes the copy.
    """
    shared = {id(each): each for each in (*network.parameters(), *network.buffers())}
    changed = copy.deepcopy(network, shared)  # the modules alone are copied
    attention = changed.encoder.attention
    assert isinstance(attention, Attends)
    changed.encoder.add_module("attention", Alone(attention))
    return changed
