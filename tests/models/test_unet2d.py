"""UNetConfig, weights <-> UNet2DModel: round trips, what is exact, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import CONFIG, filled

from adm.models.convert.unet2d import (
    UNet2D,
    check_same,
    config_of,
    export_state,
    import_state,
    unet2d_of,
)
from adm.networks import HeadCount, HeadWidth, UNet, UNetConfig, on_meta, shapes_of
from adm.recipes.released import RELEASED
from adm.store.parsed import as_type

INEXACT = {
    *("128x128_diffusion.pt", "512x512_diffusion.pt", "64_256_upsampler.pt"),
    *("imagenet64_uncond_100M_1500K.pt", "imagenet64_uncond_vlb_100M_1500K.pt"),
    "imagenet64_cond_270M_250K.pt",
}
UNETS = {n: each.config for n, each in RELEASED.items() if isinstance(each.config, UNetConfig)}
# What the training example of diffusers builds.
EXAMPLE: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}


@st.composite
def configs(draw: st.DrawFn) -> UNetConfig:
    """Networks that a UNet2DModel can be."""
    multipliers = (1, *draw(st.lists(st.sampled_from((1, 1.5, 2, 3)), max_size=2)))
    factors = [2**halvings for halvings in range(len(multipliers))]
    return UNetConfig(
        in_channels=draw(st.integers(1, 4)),
        out_channels=draw(st.integers(1, 6)),
        channels=8,
        multipliers=multipliers,
        depth=draw(st.integers(1, 3)),
        attention_factors=tuple(each for each in factors if draw(st.booleans())),
        heads=draw(st.sampled_from((HeadCount(1), HeadWidth(2), HeadWidth(4)))),
        resampling=draw(st.sampled_from(("biggan", "convolution"))),
        adaptive_norm=draw(st.booleans()),
        dropout=draw(st.sampled_from((0.0, 0.3))),
        norm_groups=draw(st.sampled_from((2, 4))),
        classes=draw(st.sampled_from((None, 3))),
    )


@settings(max_examples=12, deadline=None)
@given(config=configs(), unlabelled=st.booleans())
def test_weights_and_configuration_come_back(config: UNetConfig, unlabelled: bool) -> None:
    state = filled(UNet(config)).state_dict()
    unlabelled = unlabelled and config.classes is not None
    exported = export_state(state, config, unlabelled)
    back = import_state(exported, config, unlabelled)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    written = unet2d_of(config, (8, 12), unlabelled)
    check_same(written, config, unlabelled)
    read = config_of(written)
    assert shapes_of(on_meta(read).state_dict()) == shapes_of(import_state(exported, read, False))
    assert replace(written, **_unset(written)) == replace(
        unet2d_of(read, (8, 12), False), **_unset(written)
    )


def _unset(written: UNet2D) -> Mapping[str, Any]:
    """The kinds of the layers that a network of one resolution lacks."""
    one = len(written.block_out_channels) == 1
    kinds = ("downsample_type", "upsample_type", "down_block_types", "up_block_types")
    return dict.fromkeys(kinds, ()) if one else {}


@pytest.mark.parametrize("name", UNETS)
def test_the_released_networks_that_are_exact(name: str) -> None:
    config = UNETS[name]
    if name in INEXACT:
        with pytest.raises(ValueError, match=r"unet\.(heads|multipliers) cannot be exported"):
            unet2d_of(config, (64, 64), False)
        return
    read = unet2d_of(config, (64, 64), False)
    if isinstance(config.heads, HeadWidth):
        assert read.attention_head_dim == 64
    assert read.attn_norm_num_groups == 32
    assert read.in_channels == (6 if config.super_resolution else 3)
    state = on_meta(config).state_dict()
    exported = export_state(state, config, False)
    assert sum(t.numel() for t in exported.values()) == sum(t.numel() for t in state.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rescale_residual": True},
            "unet.rescale_residual cannot be exported: .* does not rescale",
        ),
        ({"resampling": "plain"}, "resamples by biggan or convolution alone"),
        ({"conditions": ("next",)}, "unet.conditions cannot be exported: .* no inputs besides"),
        ({"multipliers": (2, 2)}, "unet.multipliers cannot be exported"),
        ({"heads": HeadCount(2), "attention_factors": (1, 2)}, "and here they have 8, 16 channels"),
        ({"decoder_heads": HeadWidth(16)}, "and here they have 8, 16 channels"),
    ],
)
def test_what_a_unet2d_model_lacks_is_refused_by_name(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        unet2d_of(replace(CONFIG, **changes), (8, 8), False)


def test_a_plain_network_of_one_resolution_is_exact() -> None:
    unet2d_of(
        replace(CONFIG, resampling="plain", multipliers=(1,), attention_factors=()), (8, 8), False
    )


def test_the_training_example_of_diffusers_is_exact() -> None:
    config = config_of(as_type(UNet2D, EXAMPLE))
    assert config == UNetConfig(
        channels=128,
        multipliers=(1, 1, 2, 2, 4, 4),
        depth=2,
        attention_factors=(16,),
        heads=HeadWidth(8),
        resampling="convolution",
        adaptive_norm=False,
        out_channels=3,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_head_dim": 3}, "attention_head_dim"),
        ({"up_block_types": ["UpBlock2D"] * 6}, "up_block_types"),
        ({"down_block_types": ["SkipDownBlock2D"] * 6}, "down_block_types"),
        (
            {"upsample_type": "resnet", "down_block_types": EXAMPLE["down_block_types"]},
            "upsample_type",
        ),
        ({"resnet_time_scale_shift": "scale_shift"}, "attn_norm_num_groups"),
        ({"mid_block_type": None}, "mid_block_type"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"time_embedding_dim": 64}, "time_embedding_dim"),
        ({"act_fn": "gelu"}, "act_fn"),
    ],
)
def test_a_setting_that_changes_the_function_is_named(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(as_type(UNet2D, EXAMPLE | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"time_embedding_dim": 512},
        {"act_fn": "swish"},
        {"attn_norm_num_groups": 32},
        {
            "down_block_types": ["UNetResDownBlock2D"] * 4
            + ["UNetResAttnDownBlock2D", "DownBlock2D"]
        },
    ],
)
def test_other_words_for_the_same_are_read(changes: dict[str, Any]) -> None:
    assert config_of(as_type(UNet2D, EXAMPLE | changes)) == config_of(as_type(UNet2D, EXAMPLE))


@pytest.mark.parametrize("changes", [{"sigma": 1}, {"layers_per_block": "2"}, {"in_channels": 0}])
def test_a_wrong_or_unknown_setting_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        as_type(UNet2D, EXAMPLE | changes)


def test_the_older_names_of_attention_are_read() -> None:
    state = filled(UNet(CONFIG)).state_dict()
    older = {}
    for name, tensor in export_state(state, CONFIG, False).items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value")):
            name = name.replace(new, old)
        older[name.replace("to_out.0", "proj_attn")] = tensor
    back = import_state(older, CONFIG, False)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_weights_of_another_network_are_refused() -> None:
    exported = export_state(on_meta(CONFIG).state_dict(), CONFIG, False)
    with pytest.raises(ValueError, match=r"differ: conv_in\.bias missing"):
        import_state({n: t for n, t in exported.items() if n != "conv_in.bias"}, CONFIG, False)
    with pytest.raises(ValueError, match=r"class_embedding\.weight of another"):
        import_state(exported, CONFIG, True)
