"""Network, checkout of the released code -> the same network there, and one like it of diffusers.

The released code has normalisation in 32 groups, without a setting. For a network with other groups
the number is changed in the layers of the built network, so that it computes the same.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from adm.models.convert import released
from adm.networks import Classifier, ClassifierConfig, HeadWidth, UNet, UNetConfig


def released_network(
    code: SimpleNamespace, network: UNet | Classifier, size: int, half: bool = False
) -> nn.Module:
    """Return the U-Net or the classifier of the released code, with the weights of `network`.

    Args:
        code: its modules; see `steps.released_code`.
        size: the side of the images.
        half: whether it computes in float16, as its scripts do with `--use_fp16 True`.
    """
    config = network.config
    settings = {"image_size": size, "use_fp16": half, **_released_settings(config)}
    if isinstance(config, UNetConfig):
        theirs = code.unet.UNetModel(num_classes=config.classes, **settings)
    else:
        theirs = code.unet.EncoderUNetModel(pool="attention", **settings)
    state = released.export_state(network.state_dict(), replace(config, norm_groups=32))
    theirs.load_state_dict(state)
    for layer in theirs.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.num_groups = config.norm_groups
    if half:
        theirs.convert_to_fp16()
    return theirs.eval()  # its weights keep their gradients, as in its scripts


def _released_settings(config: UNetConfig | ClassifierConfig) -> dict[str, Any]:
    assert isinstance(config.heads, HeadWidth)
    out = config.out_channels if isinstance(config, UNetConfig) else config.classes
    return {
        "in_channels": config.in_channels,
        "model_channels": config.channels,
        "out_channels": out,
        "num_res_blocks": config.depth,
        "attention_resolutions": config.attention_factors,
        "channel_mult": config.multipliers,
        "num_head_channels": config.heads.channels_per_head,
        "use_scale_shift_norm": True,
        "resblock_updown": True,
    }


def diffusers_network(config: UNetConfig, size: int, best: bool) -> Any:
    """Return diffusers' U-Net with the same blocks, and weights of its own.

    Args:
        best: channels last, and fused projections of attention; otherwise as it comes.
    """
    from diffusers import UNet2DModel  # pyright: ignore

    network: Any = UNet2DModel(**_diffusers_settings(config, size))
    network.eval().requires_grad_(False)
    if best:
        network = network.to(memory_format=torch.channels_last)
        for module in network.modules():
            if hasattr(module, "fuse_projections"):
                module.fuse_projections()
    return network


def _diffusers_settings(config: UNetConfig, size: int) -> dict[str, Any]:
    assert isinstance(config.heads, HeadWidth)
    attends = [2**i in config.attention_factors for i in range(len(config.multipliers))]
    return {
        "sample_size": size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": config.widths,
        "layers_per_block": config.depth,
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
        "attention_head_dim": config.heads.channels_per_head,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "norm_num_groups": config.norm_groups,
        "num_class_embeds": config.classes,
    }
