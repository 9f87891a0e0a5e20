"""prepared network -> its copy whose innermost attention is the identity."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from nets import CONFIG, error, filled
from networks.test_prepared import AXES, inputs

from adm.networks import UNet, perturbed, prepared

SLIGHT = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def directly(network: UNet, arguments: tuple[Any, ...]) -> torch.Tensor:
    """The network, its maps of attention in the middle written out as the identity."""

    def attended(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        (x,) = inputs
        b, c, h, w = x.shape
        rows = torch.einsum("oc,bcl->bol", layer.qkv.weight[:, :, 0], layer.norm(x).flatten(2))
        rows = rows + layer.qkv.bias[:, None]
        _, _, v = rows.reshape(b, 3, layer.heads, c // layer.heads, h * w).unbind(1)
        maps = torch.eye(h * w).expand(b, layer.heads, -1, -1)
        y = torch.einsum("bnij,bndj->bndi", maps, v).reshape(b, c, h * w)
        y = torch.einsum("oc,bcl->bol", layer.out.weight[:, :, 0], y)
        y = y + layer.out.bias[:, None]
        return x + y.reshape(x.shape)

    hook = network.encoder.middle_attention.register_forward_hook(attended)
    try:
        return network(*arguments)
    finally:
        hook.remove()


@pytest.mark.parametrize("axis", AXES)
def test_it_is_the_network_whose_maps_are_the_identity(axis: str) -> None:
    config = replace(CONFIG, **AXES[axis])
    network, arguments = filled(UNet(config)), inputs(config)
    expected = directly(network, arguments)
    assert error(perturbed(prepared(network))(*arguments), expected) < SLIGHT[torch.float32]
    assert error(network(*arguments), expected) > 1e-3, "attention does something"


@pytest.mark.parametrize("dtype", SLIGHT)
def test_it_is_prepared_in_every_precision(dtype: torch.dtype) -> None:
    network, arguments = filled(UNet(CONFIG)), inputs(CONFIG)
    actual = perturbed(prepared(network, dtype))(*arguments)
    assert actual.dtype == torch.float32
    assert error(actual, directly(network, arguments)) < SLIGHT[dtype]


def test_the_copy_has_the_tensors_of_the_network_and_does_not_change_it() -> None:
    network, arguments = prepared(filled(UNet(CONFIG))), inputs(CONFIG)
    before, names = network(*arguments), set(dict(network.named_modules()))
    copy = perturbed(network)
    assert torch.equal(network(*arguments), before)
    assert set(dict(network.named_modules())) == names

    def places(of: torch.nn.Module) -> set[int]:
        return {each.data_ptr() for each in (*of.parameters(), *of.buffers()) if each.numel()}

    assert places(copy) == places(network)
    assert not copy.training


def test_a_gradient_passes_through_the_copy_as_through_the_network() -> None:
    network, (x, *rest) = filled(UNet(CONFIG)), inputs(CONFIG)
    x.requires_grad_()
    expected, actual = (
        torch.autograd.grad(output.square().sum(), x)[0]
        for output in (directly(network, (x, *rest)), perturbed(prepared(network))(x, *rest))
    )
    assert error(actual, expected) < 1e-5
