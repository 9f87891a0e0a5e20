"""x_t, step, label -> raw output: laws of the networks at every setting of the ablation."""

import dataclasses
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import CONFIG, JUDGE, filled

from adm.networks import (
    NO_LABEL,
    Classifier,
    HeadCount,
    HeadWidth,
    UNet,
    UNetConfig,
)
from adm.networks.attend import Attend
from adm.networks.blocks import Attention, attend, attend_channels_last
from adm.networks.classifier import AttentionPool

POOLS = ("attention", "adaptive", "spatial", "spatial_v2")
STEP, LABEL = torch.tensor([3.0, 700.0]), torch.tensor([0, 2])


def build(config):
    return filled(UNet(config) if isinstance(config, UNetConfig) else Classifier(config))


def inputs(config, size=(8, 12), seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, config.in_channels, *size, generator=generator)
    label = None if config.classes is None else LABEL
    side = (size[0] // 2, size[1] // 2)
    low_res = torch.randn(2, config.in_channels, *side, generator=generator)
    return x, STEP, label, low_res if config.super_resolution else None


@pytest.mark.parametrize("resampling", ["biggan", "convolution", "plain"])
@pytest.mark.parametrize("adaptive_norm", [True, False], ids=["AdaGN", "added"])
@pytest.mark.parametrize("rescale", [True, False], ids=["rescaled", "plain"])
@pytest.mark.parametrize("heads", [HeadCount(2), HeadWidth(8)], ids=["count", "width"])
def test_every_setting_gives_an_output_that_heeds_each_of_its_inputs(
    resampling, adaptive_norm, rescale, heads
):
    for super_resolution, classes, channels in [(False, None, 1), (True, 3, 3), (False, 3, 3)]:
        config = replace(
            CONFIG,
            resampling=resampling,
            adaptive_norm=adaptive_norm,
            rescale_residual=rescale,
            heads=heads,
            super_resolution=super_resolution,
            classes=classes,
            in_channels=channels,
            out_channels=2 * channels,
        )
        network, (x, step, label, low_res) = build(config), inputs(config)
        watched = [t.requires_grad_() for t in (x, low_res) if t is not None]
        out = network(x, step, label, low_res)
        assert out.shape == (2, 2 * channels, 8, 12)
        for gradient in torch.autograd.grad(out.square().sum(), watched):
            assert (gradient.flatten(1).abs().amax(1) > 0).all()
        assert not torch.allclose(network(x, step + 50, label, low_res), out)
        if label is not None:
            assert not torch.allclose(network(x, step, (label + 1) % 3, low_res), out)


# One change of every field, apart from the base; `in_channels` and the like change their inputs.
CHANGES = {
    "in_channels": 1,
    "channels": 32,
    "multipliers": (1, 1),
    "depth": 2,
    "attention_factors": (1, 2),
    "heads": HeadCount(1),
    "resampling": "convolution",
    "adaptive_norm": False,
    "rescale_residual": True,
    "dropout": 0.5,
    "norm_groups": 2,
    "out_channels": 3,
    "classes": None,
    "super_resolution": True,
    "decoder_heads": HeadCount(1),
    "conditions": ("next", "scale"),
}


def test_every_axis_of_the_configuration_is_in_the_table():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(UNetConfig)}


def shapes(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("field", CHANGES)
def test_every_axis_changes_the_parameters_or_the_output(field):
    changed = replace(CONFIG, **{field: CHANGES[field]})
    network, base = build(changed), build(CONFIG)
    if shapes(network) != shapes(base):
        return
    network.load_state_dict(base.state_dict())
    torch.manual_seed(5)
    difference = network.train()(*inputs(changed)) - base.train()(*inputs(CONFIG))
    assert difference.abs().max() > 1e-4


@pytest.mark.parametrize("factors", [(1,), (2,), (4,), (1, 4)])
@torch.no_grad()
def test_attention_follows_every_block_at_its_factors_and_the_middle(factors):
    network, sides = UNet(replace(CONFIG, multipliers=(1, 1, 1), attention_factors=factors)), []
    for module in network.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda m, arguments, out: sides.append(out.shape[2]))
    network(*inputs(CONFIG, size=(16, 24)))
    down = [16 // factor for factor in factors]  # depth 1: one block down, two up
    up = [side for side in reversed(down) for _ in range(2)]
    assert sides == [*down, 4, *up]


def test_a_new_network_gives_zero():
    out = UNet(CONFIG)(*inputs(CONFIG))
    assert out.shape == (2, 6, 8, 12)
    assert out.abs().max() == 0


def test_a_missing_label_is_no_label():
    network, (x, step, label, _) = build(CONFIG), inputs(CONFIG)
    none = torch.full((2,), NO_LABEL)
    assert torch.equal(network(x, step, none), network(x, step))
    mixed = network(x, step, torch.tensor([NO_LABEL, 2]))
    torch.testing.assert_close(mixed[0], network(x, step)[0])
    torch.testing.assert_close(mixed[1], network(x, step, label)[1])
    assert not torch.allclose(network(x, step)[0], network(x, step, label)[0])


def networks():
    yield build(CONFIG), lambda n, x, step: n(x, step, LABEL)
    for pool in POOLS:
        yield build(replace(JUDGE, pool=pool)), lambda n, x, step: n(x, step)


def test_an_image_does_not_depend_on_its_batch():
    for network, call in networks():
        x = inputs(CONFIG)[0]
        other = torch.stack([x[0], 5 * inputs(CONFIG, seed=2)[0][1]])
        torch.testing.assert_close(call(network, x, STEP)[0], call(network, other, STEP)[0])
        moved = torch.tensor([3.0, 10.0])
        torch.testing.assert_close(call(network, x, STEP)[0], call(network, x, moved)[0])


def test_dropout_is_off_in_evaluation_and_on_in_training():
    for config in (replace(CONFIG, dropout=0.5), replace(JUDGE, dropout=0.5)):
        network = build(config)
        arguments = inputs(CONFIG)[: 3 if isinstance(network, UNet) else 2]
        assert torch.equal(network(*arguments), network(*arguments))
        network.train()
        assert not torch.allclose(network(*arguments), network(*arguments))


@pytest.mark.parametrize("pool", POOLS)
def test_a_classifier_gives_logits_that_heed_image_and_step(pool):
    network, x = build(replace(JUDGE, pool=pool)), inputs(CONFIG)[0].requires_grad_()
    logits = network(x, STEP)
    assert logits.shape == (2, 5)
    gradient = torch.autograd.grad(logits.square().sum(), x)[0]
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    assert not torch.allclose(network(x, STEP + 50), logits)


def test_a_new_classifier_of_the_adaptive_pool_prefers_no_class():
    logits = Classifier(replace(JUDGE, pool="adaptive"))(inputs(CONFIG)[0], STEP)
    assert logits.abs().max() == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 5))
def test_a_size_that_cannot_be_names_the_nearest_that_can(height, width, levels):
    config = replace(CONFIG, multipliers=(1,) * levels)
    if height % config.reduction == 0 and width % config.reduction == 0:
        config.check_size((height, width))
        return
    with pytest.raises(ValueError, match="or fewer multipliers") as error:
        config.check_size((height, width))
    assert f"an image of {height}x{width}" in str(error.value)
    suggested = re.findall(r"(\d+)x(\d+)", str(error.value).split("use ")[1])
    assert suggested
    for sides in suggested:
        config.check_size(tuple(map(int, sides)))
        for side, requested in zip(map(int, sides), (height, width), strict=True):
            assert abs(side - requested) < config.reduction


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda x: build(replace(CONFIG, classes=None))(x, STEP, LABEL), "call it without labels"),
        (lambda x: build(CONFIG)(x, STEP, LABEL, x), "takes no low-resolution image"),
        (
            lambda x: build(replace(CONFIG, super_resolution=True))(x, STEP),
            "needs a low-resolution",
        ),
        (lambda x: build(JUDGE)(x[..., :8], STEP), r"for images of \(8, 12\), got \(8, 8\)"),
        (lambda x: UNet(replace(CONFIG, norm_groups=3)), "set norm_groups to a divisor such as 1"),
        (lambda x: UNet(replace(CONFIG, heads=HeadCount(3))), "divides the channels"),
        (lambda x: UNet(replace(CONFIG, heads=HeadWidth(64))), "divides the channels"),
        (lambda x: Classifier(replace(JUDGE, heads=HeadCount(2))), "give heads=HeadWidth"),
    ],
)
def test_what_a_network_cannot_do_names_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call(inputs(CONFIG)[0])


def channels_second(attention):
    """An attention of (B, L, 3C) as one of (B, 3C, L)."""
    return lambda qkv, heads: attention(qkv.transpose(1, 2).contiguous(), heads).transpose(1, 2)


ATTENTIONS = {
    "plain": attend,
    "channels last": channels_second(attend_channels_last),
    "in chunks": channels_second(Attend.apply),
}


@pytest.mark.parametrize("attention", ATTENTIONS.values(), ids=ATTENTIONS)
def test_a_head_is_the_attention_of_its_own_adjacent_channels(attention):
    """Queries, keys and values come one after another, and within each the heads do."""
    heads, width = 3, 4
    qkv = torch.randn(2, 3 * heads * width, 5, generator=torch.Generator().manual_seed(0))
    parts = qkv.unflatten(1, (3, heads, width))
    out = attention(qkv, heads).unflatten(1, (heads, width))
    for head in range(heads):
        q, k, v = parts[:, :, head].unbind(1)  # (B, width, L)
        weights = (q.mT @ k / width**0.5).softmax(dim=2)
        torch.testing.assert_close(out[:, head], (weights @ v.mT).mT)


def pool_of(channels=8, positions=6):
    torch.manual_seed(0)
    return AttentionPool(channels, positions, heads=2, classes=5).eval()


@torch.no_grad()
def test_the_pool_reads_its_class_token_alone():
    """Other positions may change places with their embeddings; the token has one of its own."""
    pool, x = pool_of(), torch.randn(2, 8, 2, 3)
    logits = pool(x)
    order = torch.randperm(6)
    pool.positions[:, 1:] = pool.positions[:, 1:][:, order]
    moved = x.flatten(2)[:, :, order].view_as(x)
    torch.testing.assert_close(pool(moved), logits)
    pool.positions[:, 0] += torch.randn(8)
    assert not torch.allclose(pool(moved), logits)


@torch.no_grad()
def test_the_class_token_of_the_pool_is_the_mean_of_all_positions():
    """With equal keys every token has the same weight, and the logits depend on the mean alone."""
    pool, x = pool_of(), torch.randn(2, 8, 2, 3)
    pool.qkv.weight[8:16] = 0  # keys
    level = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    assert not torch.allclose(x, level)
    torch.testing.assert_close(pool(x), pool(level))


def first_layer_input(low_res, size):
    """The low-resolution image that the network's first convolution receives."""
    network, calls = UNet(replace(CONFIG, super_resolution=True)).eval(), []
    network.encoder.stages[0].block.register_forward_pre_hook(
        lambda m, arguments: calls.append(*arguments)
    )
    with torch.no_grad():
        network(torch.zeros(len(low_res), 3, *size), STEP[: len(low_res)], None, low_res)
    image, low = calls[0].split(3, dim=1)
    assert image.abs().max() == 0
    return low


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("axis", [2, 3])
def test_a_ramp_stays_a_ramp_when_upsampled(factor, axis):
    """Bilinear, with pixels as areas: a pixel of the ramp has the value at its own centre."""
    length = 6
    ramp = torch.arange(float(length)).view([-1 if d == axis else 1 for d in range(4)])
    low = first_layer_input(ramp.expand(1, 3, 6, 6), (6 * factor, 6 * factor))
    centres = (torch.arange(float(length * factor)) + 0.5) / factor - 0.5
    expected = centres.clamp(0, length - 1)  # beyond the outermost centres nothing is known
    torch.testing.assert_close(
        low, expected.view([-1 if d == axis else 1 for d in range(4)]).expand_as(low)
    )
