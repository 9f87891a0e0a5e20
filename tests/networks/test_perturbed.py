"""network -> its copy whose innermost attention is the identity, plain and prepared."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from nets import CONFIG, error, filled
from networks.test_prepared import AXES, inputs

from adm.networks import UNet, perturbed, prepared

SLIGHT = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def directly(network: UNet, given: tuple[Any, ...]) -> torch.Tensor:
    """The network with maps of attention in the middle that are written out as the identity."""

    def attended(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        (x,) = inputs
        b, c, h, w = x.shape
        rows = torch.einsum("oc,bcl->bol", layer.qkv.weight[:, :, 0], layer.norm(x).flatten(2))
        rows = rows + layer.qkv.bias[:, None]
        _, _, v = rows.reshape(b, 3, layer.heads, c // layer.heads, h * w).unbind(1)
        maps = torch.eye(h * w).expand(b, layer.heads, -1, -1)
        found = torch.einsum("bnij,bndj->bndi", maps, v).reshape(b, c, h * w)
        found = torch.einsum("oc,bcl->bol", layer.out.weight[:, :, 0], found)
        found = found + layer.out.bias[:, None]
        return x + found.reshape(x.shape)

    hook = network.encoder.middle_attention.register_forward_hook(attended)
    try:
        return network(*given)
    finally:
        hook.remove()


@pytest.mark.parametrize("axis", AXES)
def test_it_is_the_network_whose_maps_are_the_identity(axis: str) -> None:
    config = replace(CONFIG, **AXES[axis])
    network, given = filled(UNet(config)), inputs(config)
    wanted = directly(network, given)
    assert error(perturbed(network)(*given), wanted) < 1e-6
    assert error(perturbed(prepared(network))(*given), wanted) < SLIGHT[torch.float32]
    assert error(network(*given), wanted) > 1e-3, "attention does something"


@pytest.mark.parametrize("dtype", SLIGHT)
def test_it_is_prepared_in_every_precision(dtype: torch.dtype) -> None:
    network, given = filled(UNet(CONFIG)), inputs(CONFIG)
    got = perturbed(prepared(network, dtype))(*given)
    assert got.dtype == torch.float32
    assert error(got, directly(network, given)) < SLIGHT[dtype]


@pytest.mark.parametrize("kind", [lambda network: network, prepared], ids=["plain", "prepared"])
def test_the_copy_has_the_tensors_of_the_network_and_leaves_it_as_it_was(kind: Any) -> None:
    network, given = kind(filled(UNet(CONFIG))), inputs(CONFIG)
    before, names = network(*given), set(dict(network.named_modules()))
    copy = perturbed(network)
    assert torch.equal(network(*given), before)
    assert set(dict(network.named_modules())) == names

    def places(of: torch.nn.Module) -> set[int]:
        return {each.data_ptr() for each in (*of.parameters(), *of.buffers()) if each.numel()}

    assert places(copy) == places(network)
    assert not copy.training


def test_a_gradient_passes_through_the_copy_as_through_the_network() -> None:
    network, (x, *rest) = filled(UNet(CONFIG)), inputs(CONFIG)
    x.requires_grad_()
    wanted, got = (
        torch.autograd.grad(perturbed(each)(x, *rest).square().sum(), x)[0]
        for each in (network, prepared(network))
    )
    assert error(got, wanted) < 1e-5
