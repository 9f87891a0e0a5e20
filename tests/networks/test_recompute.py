"""a network, recomputed -> the same gradients from less memory."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from nets import CONFIG, JUDGE
from torch import nn
from torch.nn import functional as F

from adm.networks import Classifier, UNet, key_dropout, recompute

UNET = replace(CONFIG, depth=2, dropout=0.2)
CLASSIFIER = replace(JUDGE, depth=2, dropout=0.2, size=(16, 16))
KINDS = ("diffusion", "upsampler", "classifier")
BATCH = 3


def built(kind: str) -> nn.Module:
    torch.manual_seed(0)
    networks: dict[str, Callable[[], nn.Module]] = {
        "diffusion": lambda: UNet(UNET),
        "upsampler": lambda: UNet(replace(UNET, super_resolution=True)),
        "classifier": lambda: Classifier(CLASSIFIER),
    }
    network = networks[kind]()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.train()


def outputs(kind: str, network: nn.Module, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, 3, size, size, generator=generator)
    step = torch.tensor([3.0, 500.0, 999.0])
    if kind == "classifier":
        return network(x, step)
    low = (F.avg_pool2d(x, 2),) if kind == "upsampler" else ()
    return network(x, step, torch.tensor([0, 1, -1]), *low)


def gradients(kind: str, network: nn.Module) -> dict[str, torch.Tensor]:
    network.zero_grad()
    out = outputs(kind, network)
    with torch.autocast("cpu", enabled=False):
        out.float().square().mean().backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def saved_bytes(kind: str, network: nn.Module) -> int:
    """Bytes that the graph saves for the backward pass, without the weights."""
    sizes: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        outputs(kind, network)
    return sum(sizes.values())


@pytest.mark.parametrize("how", ["keyed", "plain", "in half precision"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_same_to_the_bit(kind, how):
    network = built(kind)
    key_dropout(network, None if how == "plain" else torch.arange(BATCH))
    results = []
    for on in (False, True):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, how == "in half precision"):
            results.append(gradients(kind, recompute(network) if on else network))
    plain, again = results
    assert plain.keys() == again.keys() == dict(network.named_parameters()).keys()
    for name, gradient in plain.items():
        assert torch.equal(gradient, again[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_less_is_saved_for_the_backward_pass(kind):
    network = built(kind)
    key_dropout(network, torch.arange(BATCH))
    plain, again = saved_bytes(kind, network), saved_bytes(kind, recompute(network))
    assert again < 0.5 * plain


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_runs_twice_in_evaluation_or_without_gradients(kind):
    network, runs = recompute(built(kind)), []
    owner = getattr(network, "encoder", network)
    block = getattr(owner.stages[1], "block", owner.stages[1])
    block.register_forward_pre_hook(lambda *_: runs.append(1))
    gradients(kind, network)
    assert len(runs) == 2
    with torch.no_grad():
        outputs(kind, network)
    gradients(kind, network.eval())
    assert len(runs) == 4
