"""features -> the same features and gradients, by the fast operations."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from nets import CONFIG, JUDGE, error
from torch import nn
from torch.nn import functional as F

from adm.networks import Classifier, HeadWidth, UNet, moments
from adm.networks.attend import Attend
from adm.networks.blocks import Attention, attend
from adm.networks.convolve import Conv
from adm.networks.moments import Normalise
from adm.networks.norm import GroupNorm


def plain(norm, x, scale, shift, silu):
    h = F.group_norm(x, norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps)
    if scale is not None:
        h = h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    return F.silu(h) if silu else h


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize(("groups", "channels"), [(4, 12), (12, 12), (1, 6)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_fused_norm_and_its_gradients_are_right_in_float64(
    groups, channels, adaptive, silu, layout
):
    """Its sums are float32; but for them, gradients are those that torch derives."""
    torch.manual_seed(0)
    norm = GroupNorm(groups, channels).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (torch.randn(3, channels, 5, 7).double() + 4).contiguous(memory_format=layout)
    inputs = [x, *torch.randn(2, 3, channels).double()] if adaptive else [x, None, None]
    leaves = [t.requires_grad_() for t in [*inputs, norm.weight, norm.bias] if t is not None]
    actual, expected = norm(*inputs, silu=silu), plain(norm, *inputs, silu)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(actual, leaves, gradient),
        torch.autograd.grad(expected, leaves, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mean", [0.0, 10.0, 301.0])
def test_in_bfloat16_the_fused_norm_rounds_and_no_more(mean):
    """Also where the mean is many deviations: sums of squares would cancel, and factors round."""
    torch.manual_seed(0)
    norm = GroupNorm(8, 32)
    x = (torch.randn(4, 32, 16, 16) + mean).bfloat16()
    scale, shift = (torch.randn(4, 32).bfloat16() for _ in range(2))
    results = []
    for exact in (True, False):
        leaf = (x.double() if exact else x.clone()).requires_grad_()
        y = (
            plain(norm, leaf, scale.double(), shift.double(), True)
            if exact
            else norm(leaf, scale, shift, silu=True)
        )
        above = scale.to(y.dtype)[..., None, None].expand_as(y)
        results.append((y, *torch.autograd.grad(y, [leaf, norm.weight], above)))
    expected, actual = results
    bfloat16 = 2.0**-9  # the largest relative error of one rounding
    for ours, theirs, roundings in zip(actual, expected, (2, 3, 1), strict=True):
        assert error(ours, theirs.detach().double()) < roundings * bfloat16


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (1, 1)])
def test_convolutions_for_speed_and_their_gradients_are_the_plain_ones(size, stride, doubled, half):
    if doubled and (size, stride) != (3, 1):
        pytest.skip("only such a convolution follows upsampling")
    torch.manual_seed(0)
    conv, x = Conv(4, 6, size, stride=stride, padding=size // 2), torch.randn(3, 4, 8, 6)
    results = []
    for fast in (True, False):
        leaf = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half and fast):
            y = conv.train(fast)(leaf, doubled=doubled)
        gradient = torch.linspace(-1, 2, y.numel()).view_as(y).to(y.dtype)
        results.append((y, *torch.autograd.grad(y, [leaf, conv.weight, conv.bias], gradient)))
    for actual, expected in zip(*results, strict=True):
        assert error(actual, expected.detach().double()) < (0.01 if half else 1e-6)


@pytest.mark.parametrize("channels", [32, 64])
def test_the_fused_norm_does_not_depend_on_the_images_that_share_the_cache(channels, monkeypatch):
    """The gradient of every image is its own, and those of gain and bias are all images'."""
    torch.manual_seed(0)
    norm, x = GroupNorm(8, channels), torch.randn(5, channels, 8, 8)
    results = []
    for at_once in (2**30, 2 * x[0].numel()):
        monkeypatch.setattr(moments, "IN_CACHE", at_once)
        leaf = x.clone().requires_grad_()
        y = norm(leaf, silu=True)
        results.append((y, *torch.autograd.grad(y, [leaf, norm.weight, norm.bias], x.sin())))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("heads", "length", "width"), [(2, 5, 8), (3, 49, 12), (1, 1100, 4)])
def test_attention_in_chunks_is_attention(heads, length, width):
    """1,100 positions have more pairs than one chunk."""
    torch.manual_seed(0)
    qkv = torch.randn(2, length, 3 * width).double().requires_grad_()
    gradient = torch.randn(2, length, width).double()
    actual = Attend.apply(qkv, heads)
    expected = attend(qkv.transpose(1, 2), heads).transpose(1, 2)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(out, qkv, gradient)[0] for out in (actual, expected))
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_attention_layer_is_the_same_either_way(precision):
    torch.manual_seed(0)
    layer = Attention(16, HeadWidth(8), 4)
    nn.init.normal_(layer.out.weight, std=0.1)
    x = torch.randn(2, 16, 6, 4)
    expected = layer.eval()(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        actual = layer.train()(x.contiguous(memory_format=torch.channels_last))
    assert actual.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        actual, expected, **({} if precision == "float32" else {"rtol": 0.02, "atol": 0.02})
    )


def calls(channels: int):
    """Networks, each with the call that trains it."""
    torch.manual_seed(0)
    x, step = torch.randn(2, channels, 8, 12), torch.tensor([3.0, 700.0])
    unet = UNet(replace(CONFIG, in_channels=channels))
    yield unet, lambda: unet(x, step, torch.tensor([0, 2]))
    upsampler = UNet(replace(CONFIG, in_channels=channels, super_resolution=True))
    yield upsampler, lambda: upsampler(x, step, torch.tensor([0, 2]), x[..., ::2, ::2])
    for pool in ("attention", "spatial_v2"):
        judge = Classifier(replace(JUDGE, in_channels=channels, pool=pool))
        yield judge, lambda judge=judge: judge(x, step)
    for style in ({"resampling": "convolution"}, {"adaptive_norm": False}, {"resampling": "plain"}):
        changed = UNet(replace(CONFIG, in_channels=channels, **style))
        yield changed, lambda changed=changed: changed(x, step, torch.tensor([0, 2]))


@pytest.mark.parametrize("channels", [1, 3])
def test_networks_in_training_give_what_they_give_in_evaluation(channels):
    for network, call in calls(channels):
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
        expected = call_and_gradients(network.eval(), call)
        actual = call_and_gradients(network.train(), call)
        for name in expected:
            assert error(actual[name], expected[name].double()) < 1e-4, name


@pytest.mark.parametrize("channels", [1, 3])
def test_in_half_precision_they_stay_near_it(channels):
    for network, call in calls(channels):
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.05)
        expected = call_and_gradients(network.eval(), call)
        with torch.autocast("cpu", torch.bfloat16):
            actual = call_and_gradients(network.train(), call)
        assert error(actual["output"], expected["output"].double()) < 0.03
        vectors = [torch.cat([d[n].flatten() for n in expected]) for d in (actual, expected)]
        assert error(vectors[0], vectors[1].double()) < 0.05


def call_and_gradients(network, call):
    network.zero_grad()
    out = call()
    out.float().square().mean().backward()
    return {"output": out.detach(), **{n: p.grad.clone() for n, p in network.named_parameters()}}


@pytest.mark.parametrize("channels", [1, 3])
def test_every_convolution_has_its_channels_last(channels):
    for network, call in calls(channels):
        layouts: dict[str, bool] = {}
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d) and module.in_channels > 2 * channels:
                module.register_forward_pre_hook(partial(note_layout, layouts, name))
        with torch.autocast("cpu", torch.bfloat16):
            call()
        assert len(layouts) > 5
        assert all(layouts.values()), layouts


def note_layout(layouts, name, module, arguments):
    layouts[name] = arguments[0].is_contiguous(memory_format=torch.channels_last)


def test_in_float32_and_evaluation_the_released_order_of_operations_stays(monkeypatch):
    monkeypatch.setattr(Normalise, "apply", lambda *_: pytest.fail("the fused norm ran"))
    monkeypatch.setattr(Attend, "apply", lambda *_: pytest.fail("attention ran in chunks"))
    for network, call in calls(3):
        network.eval()
        call()


def test_attention_saves_nothing_of_the_size_of_all_pairs():
    layer, length = Attention(16, HeadWidth(8), 4).train(), 32 * 32
    sizes = []

    def save(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda t: t):
        for half in (True, False):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                layer(torch.randn(1, 16, 32, 32))
    assert max(sizes) < length**2 / 8
    assert math.isfinite(sum(sizes))
