"""Module, learning rate, weight decay -> torch's optimizer of its parameters."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from adm.spec import Checked
from adm.training import muon

FUSED = ("cpu", "cuda")  # devices for which torch has an AdamW in one kernel


class Optimizer(Checked):
    """How gradients become steps."""

    @abstractmethod
    def of(self, network: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
        """Return the optimizer of a network.

        Args:
            rate: the peak of the learning rate.
            decay: of the weights.
        """


@dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: ClassVar[str] = "adamw"

    def of(self, network: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
        parameters = [*network.parameters()]
        fused = all(p.device.type in FUSED for p in parameters) or None  # one pass over each tensor
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=fused)


@dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
    """Orthogonal steps of hidden matrices and kernels, AdamW for the rest (Jordan et al. 2024).

    With the scale of Liu et al. 2025, so that AdamW's learning rate and weight decay serve both.

    Attributes:
        momentum: decay of the average of the matrices' gradients.
    """

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    name: ClassVar[str] = "muon"

    def of(self, network: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
        matrices = muon.hidden_matrices(network)
        chosen = set(matrices)
        others = [p for p in network.parameters() if p not in chosen]
        return muon.Muon(matrices, others, self.momentum, lr=rate, weight_decay=decay)


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (AdamW, Muon)}


def create_moments(optimizer: torch.optim.Optimizer) -> None:
    """Create the state that an optimizer otherwise creates in its first step, all zero.

    A checkpoint then has the same tensors after any number of steps, also of skipped ones. The
    optimizer takes a step of gradient zero at rate zero, which moves no weight, as torch's
    distributed checkpoints do (torch.distributed.checkpoint.state_dict).
    """
    groups = optimizer.param_groups
    rates = [group["lr"] for group in groups]
    for group in groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    for slots in optimizer.state.values():
        for value in slots.values():
            value.zero_()
