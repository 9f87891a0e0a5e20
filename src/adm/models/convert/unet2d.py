"""UNetConfig, our state dict <-> configuration, state dict of diffusers' UNet2DModel.

`UNet2D` is written for one network and read by comparison: the few fields that decide our
configuration give a candidate, and every field in which the file differs from the `UNet2D` of
the candidate makes the network inexact, and is named.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import count
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from torch import Tensor, cat

from adm.networks import HeadCount, HeadWidth, UNetConfig, differing_tensors, on_meta, shapes_of
from adm.networks.encoder import LARGEST, MOST_CLASSES, MOST_RESOLUTIONS
from adm.shown import shown
from adm.spec import SettingError

Text = Annotated[str, Field(max_length=100)]
Count = Annotated[int, Field(gt=0, le=LARGEST["channels"])]
Names = Annotated[tuple[Text, ...], Field(max_length=MOST_RESOLUTIONS)]
ATTENDS = "AttnDownBlock2D", "AttnUpBlock2D"
PLAIN = {  # down and up: a stage's blocks, and the layer that halves or doubles after them
    "biggan": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
    "convolution": ("DownBlock2D", "UpBlock2D"),
}
RESIZES = {"biggan": "resnet", "convolution": "conv"}
SHIFT = {True: "scale_shift", False: "default"}  # AdaGN, or addition
# Of diffusers before 0.15, whose attention was another class.
OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
QKV = ("to_q", "to_k", "to_v")
LAYERS: dict[str, tuple[str, ...]] = {
    "norm_in": ("norm1",),
    "conv_in": ("conv1",),
    "embedding": ("time_emb_proj",),
    "norm_out": ("norm2",),
    "conv_out": ("conv2",),
    "skip": ("conv_shortcut",),
    "norm": ("group_norm",),
    "qkv": QKV,
    "out": ("to_out.0",),
}


@dataclass(frozen=True, kw_only=True)
class UNet2D:
    """The configuration of a UNet2DModel, with the defaults of diffusers.

    The first part decides what network of ours it is. In the second, ours is exact for the defaults
    alone.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    sample_size: Count | tuple[Count, Count] | None = None
    in_channels: Count = 3
    out_channels: Count = 3
    down_block_types: Names = ("DownBlock2D", *["AttnDownBlock2D"] * 3)
    up_block_types: Names = (*["AttnUpBlock2D"] * 3, "UpBlock2D")
    block_out_channels: Annotated[
        tuple[Count, ...], Field(min_length=1, max_length=MOST_RESOLUTIONS)
    ] = (224, 448, 672, 896)
    layers_per_block: Count = 2
    downsample_type: Text = "conv"
    upsample_type: Text = "conv"
    dropout: float = 0.0
    attention_head_dim: Count | None = 8
    norm_num_groups: Count = 32
    attn_norm_num_groups: Count | None = None
    resnet_time_scale_shift: Text = "default"
    num_class_embeds: Annotated[int, Field(gt=0, le=MOST_CLASSES)] | None = None

    center_input_sample: bool = False
    time_embedding_type: Text = "positional"
    time_embedding_dim: Count | None = None
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    mid_block_type: Text | None = "UNetMidBlock2D"
    mid_block_scale_factor: float = 1
    downsample_padding: int = 1
    act_fn: Text = "silu"
    norm_eps: float = 1e-5
    add_attention: bool = True
    class_embed_type: Text | None = None
    num_train_timesteps: int | None = None  # of learned embeddings of timesteps alone


def unet2d_of(config: UNetConfig, size: tuple[int, int], unlabelled: bool) -> UNet2D:
    """Return the UNet2DModel that computes what a network of ours does.

    Args:
        size: (H, W) of the images.
        unlabelled: whether there is one class more, of images without a label.

    Raises:
        SettingError: there is none; names the setting and the reason.
    """
    _check_exact(config)
    kind = "biggan" if config.resampling == "biggan" else "convolution"
    attends = [2**halvings in config.attention_factors for halvings in range(len(config.widths))]
    down, up = (
        [attending if each else plain for each in attends]
        for attending, plain in zip(ATTENDS, PLAIN[kind], strict=True)
    )
    return UNet2D(
        sample_size=size,
        in_channels=config.in_channels * (2 if config.super_resolution else 1),
        out_channels=config.out_channels,
        down_block_types=tuple(down),
        up_block_types=tuple(reversed(up)),
        block_out_channels=config.widths,
        layers_per_block=config.depth,
        downsample_type=RESIZES[kind],
        upsample_type=RESIZES[kind],
        dropout=config.dropout,
        attention_head_dim=_head_width(config),
        norm_num_groups=config.norm_groups,
        attn_norm_num_groups=config.norm_groups,
        resnet_time_scale_shift=SHIFT[config.adaptive_norm],
        num_class_embeds=None if config.classes is None else config.classes + unlabelled,
    )


def _check_exact(config: UNetConfig) -> None:
    """Raise SettingError if UNet2DModel lacks a part of a network."""
    if config.rescale_residual:
        raise _not_in_diffusers("unet.rescale_residual", "does not rescale residuals")
    if config.conditions:
        only = "has no inputs besides the timestep and the label"
        raise _not_in_diffusers("unet.conditions", only)
    if config.widths[0] != config.channels:
        only = "embeds timesteps in as many channels as it has at the first resolution"
        raise _not_in_diffusers("unet.multipliers", only)
    if config.resampling == "plain" and len(config.widths) > 1:
        raise _not_in_diffusers("unet.resampling", "resamples by biggan or convolution alone")


def _not_in_diffusers(field: str, why: str) -> SettingError:
    """Return the error of a network that no UNet2DModel is."""
    return SettingError(field, f"{{}} cannot be exported: diffusers' UNet2DModel {why}")


def _head_width(config: UNetConfig) -> int | None:
    """Return the channels per head of every attention; None for one head of all channels."""
    attending = [
        (width, heads)
        for heads in (config.heads, config.decoder_heads or config.heads)
        for halvings, width in enumerate(config.widths)
        if 2**halvings in config.attention_factors
    ]
    attending.append((config.widths[-1], config.heads))
    counts = [(width, heads.count(width) or 1) for width, heads in attending]
    if all(heads == 1 for _, heads in counts):
        return None
    # 0 for what does not split into whole heads, which no network of ours has.
    head_widths = sorted({0 if width % heads else width // heads for width, heads in counts})
    if len(head_widths) > 1:
        here = ", ".join(map(str, head_widths))
        only = f"has heads of one width, and here they have {here} channels"
        raise _not_in_diffusers("unet.heads", only)
    return head_widths[0]


def config_of(unet: UNet2D) -> UNetConfig:
    """Return our configuration of a UNet2DModel; inverts `unet2d_of`.

    Raises:
        ValueError: ours would compute something else, and names the settings in which; or it is
            larger than any network.
    """
    unet = _normal(unet)
    channels, halvings = unet.block_out_channels[0], range(len(unet.block_out_channels))
    resnets = PLAIN["biggan"][0] in unet.down_block_types or (
        ATTENDS[0] in unet.down_block_types[:-1] and unet.downsample_type == "resnet"
    )
    width = unet.attention_head_dim
    config = UNetConfig(
        in_channels=unet.in_channels,
        out_channels=unet.out_channels,
        channels=channels,
        multipliers=tuple(_multiplier(channels, each) for each in unet.block_out_channels),
        depth=unet.layers_per_block,
        attention_factors=tuple(
            2**each
            for each, kind in zip(halvings, unet.down_block_types, strict=False)
            if kind == ATTENDS[0]
        ),
        heads=HeadCount(1) if width is None else HeadWidth(width),
        resampling="biggan" if resnets else "convolution",
        adaptive_norm=unet.resnet_time_scale_shift == SHIFT[True],
        dropout=unet.dropout,
        norm_groups=unet.norm_num_groups,
        classes=unet.num_class_embeds,
    )
    check_same(unet, config)
    return config


def check_same(theirs: UNet2D, config: UNetConfig, unlabelled: bool = False) -> None:
    """Raise ValueError, naming the settings that differ, unless both compute the same."""
    theirs = _normal(theirs)
    ours = _normal(unet2d_of(config, (1, 1), unlabelled))
    differing = [
        f"{name}={shown(getattr(theirs, name))}, ours {shown(getattr(ours, name))}"
        for name in (field.name for field in fields(UNet2D))
        if name not in ("sample_size", "num_train_timesteps")
        and getattr(theirs, name) != getattr(ours, name)
    ]
    if differing:
        raise ValueError(f"our U-Net computes something else: {'; '.join(differing)}")


def _normal(unet: UNet2D) -> UNet2D:
    """Return the one form of all configurations that compute the same."""
    down, up = (
        tuple(kind.removeprefix("UNetRes") for kind in kinds)  # of diffusers before 0.5
        for kinds in (unet.down_block_types, unet.up_block_types)
    )
    widths = unet.block_out_channels
    attended = {width for width, kind in zip(widths, down, strict=False) if kind == ATTENDS[0]}
    one_head = {unet.attention_head_dim} == attended | {widths[-1]}
    normed = unet.attn_norm_num_groups is None and unet.resnet_time_scale_shift == SHIFT[False]
    return replace(
        unet,
        down_block_types=down,
        up_block_types=up,
        downsample_type=unet.downsample_type if ATTENDS[0] in down[:-1] else "conv",
        upsample_type=unet.upsample_type if ATTENDS[1] in up[:-1] else "conv",
        attention_head_dim=None if one_head else unet.attention_head_dim,
        attn_norm_num_groups=unet.norm_num_groups if normed else unet.attn_norm_num_groups,
        time_embedding_dim=unet.time_embedding_dim or 4 * widths[0],
        act_fn="silu" if unet.act_fn == "swish" else unet.act_fn,
    )


def _multiplier(channels: int, width: int) -> float:
    """Return a number that times `channels` is `width` when it is rounded down."""
    multiplier = width / channels
    return multiplier if int(channels * multiplier) == width else math.nextafter(multiplier, 1e9)


def export_state(
    state: Mapping[str, Tensor], config: UNetConfig, unlabelled: bool
) -> dict[str, Tensor]:
    """Return our weights in the names and shapes of a UNet2DModel.

    The rows of qkv are all queries first, each grouped by head, as are those of its three layers;
    the released order, by head first, would load as well, and give noise.

    Args:
        unlabelled: whether an embedding of zeros follows those of the classes: that of an image
            without a label.
    """
    exported = dict[str, Tensor]()
    for name, theirs in _names(config).items():
        tensor = state[name]
        if unlabelled and name == "label_embedding.weight":
            tensor = cat([tensor, tensor.new_zeros(1, tensor.shape[1])])
        tensor = tensor.squeeze(2) if tensor.dim() == 3 else tensor  # a convolution of size 1
        exported |= zip(theirs, tensor.chunk(len(theirs)), strict=True)
    return exported


def import_state(
    state: Mapping[str, Tensor], config: UNetConfig, unlabelled: bool
) -> dict[str, Tensor]:
    """Return the weights of a UNet2DModel in our names and shapes; inverts `export_state`.

    Raises:
        ValueError: the weights are not of this network; names some that differ. Or the embedding of
            no label is not zero, as ours is.
    """
    state = {
        ".".join(OLDER.get(part, part) for part in name.split(".")): tensor
        for name, tensor in state.items()
    }
    ours = on_meta(config).state_dict()
    expected = shapes_of(export_state(ours, config, unlabelled))
    got = shapes_of(state)
    if got != expected:
        raise ValueError(f"the weights differ: {differing_tensors(got, expected)}; copy it again")
    imported = dict[str, Tensor]()
    for name, theirs in _names(config).items():
        joined = cat([state[each] for each in theirs])
        if unlabelled and name == "label_embedding.weight":
            joined, none = joined[:-1], joined[-1]
            if none.any():
                raise ValueError("the embedding of no label, the last class, is not zero")
        imported[name] = joined.reshape(ours[name].shape)
    return imported


def _names(config: UNetConfig) -> dict[str, tuple[str, ...]]:
    """Return our name of each tensor -> its name in a UNet2DModel, or the names of its parts."""
    places = dict(_places(config))
    return {name: _renamed(name, places) for name in on_meta(config).state_dict()}


def _renamed(name: str, places: Mapping[str, str]) -> tuple[str, ...]:
    parts = name.split(".")
    cut = next(n for n in range(len(parts)) if ".".join(parts[:n]) in places)
    place = places[".".join(parts[:cut])]
    layer, _, kind = ".".join(parts[cut:]).rpartition(".")
    inner = LAYERS.get(layer, (layer,))
    return tuple(".".join(part for part in (place, each, kind) if part) for each in inner)


def _places(config: UNetConfig) -> Iterator[tuple[str, str]]:
    """Yield our path and that of UNet2DModel, of each block."""
    yield "step_embedding.0", "time_embedding.linear_1"
    yield "step_embedding.2", "time_embedding.linear_2"
    yield "label_embedding", "class_embedding"
    yield "encoder.stages.0.block", "conv_in"
    yield "encoder.middle_in", "mid_block.resnets.0"
    yield "encoder.middle_attention", "mid_block.attentions.0"
    yield "encoder.middle_out", "mid_block.resnets.1"
    yield "head.0", "conv_norm_out"
    yield "head.2", "conv_out"
    stages, decoded = count(1), count()
    for level in range(len(config.widths)):
        for i in range(config.depth):
            ours, theirs = f"encoder.stages.{next(stages)}", f"down_blocks.{level}"
            yield f"{ours}.block", f"{theirs}.resnets.{i}"
            yield f"{ours}.attention", f"{theirs}.attentions.{i}"
        if level < len(config.widths) - 1:
            yield f"encoder.stages.{next(stages)}.block", f"down_blocks.{level}.downsamplers.0"
    for level in range(len(config.widths)):
        for i in range(config.depth + 1):
            ours, theirs = f"decoder.{next(decoded)}", f"up_blocks.{level}"
            yield f"{ours}.block", f"{theirs}.resnets.{i}"
            yield f"{ours}.attention", f"{theirs}.attentions.{i}"
            yield f"{ours}.resize", f"{theirs}.upsamplers.0"
