"""Module -> its hidden matrices; gradients of matrices -> orthogonal steps (Muon).

Muon (Jordan et al. 2024) steps along the momentum of each matrix with its singular values set to 1,
which a polynomial of the matrix does. A kernel (out, in, k, k) is the matrix (out, in k k).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adm.networks.blocks import TimestepEmbedding

# Jordan 2024: a x + b x^3 + c x^5, five times, takes singular values from 0.002 of the Frobenius
# norm up to between 0.68 and 1.14.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5
RMS = 0.2  # of a step with learning rate 1, as AdamW's (Liu et al. 2025, section 2.2)


class Muon(torch.optim.AdamW):
    """Muon for matrices, and AdamW for all other parameters.

    A step of a matrix has the root mean square that one of AdamW usually has, so that one learning
    rate and one weight decay serve both. It does not depend on the scale of the gradient.

    Args:
        matrices: of two or more dimensions, of which the first are the rows.
        others: stepped by AdamW.
        momentum: decay of the average of gradients (Nesterov's form).
        settings: of AdamW; learning rate and weight decay are those of the matrices, too.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        momentum: float = 0.95,
        **settings: Any,
    ) -> None:
        groups = [
            {"params": list(others), "momentum": None},
            {"params": list(matrices), "momentum": momentum},
        ]
        super().__init__([group for group in groups if group["params"]], **settings)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients of all parameters that have one."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if group["momentum"] is None]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["momentum"] is not None:
                self._step_matrices(group)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        ahead = [self._momentum(p, group["momentum"]).reshape(len(p), -1) for p in parameters]
        for parameter, direction in zip(parameters, orthogonal(ahead), strict=True):
            size = group["lr"] * RMS * max(direction.shape) ** 0.5
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(direction.reshape(parameter.shape), alpha=size)

    def _momentum(self, parameter: nn.Parameter, decay: float) -> Tensor:
        """Update the average of a gradient, and return it as if the gradient came once more."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        return gradient.lerp(state["momentum"].lerp_(gradient, 1 - decay), decay)


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return about U V^T of each (M, N) matrix U S V^T: with singular values from 0.68 to 1.14.

    Singular values far below the others, 0.002 of the norm and less, remain smaller. An odd
    polynomial of X is a polynomial of X X^T, times X: its rounds are taken on the Gram matrices of
    the shorter sides alone, those of one size together.
    """
    wide = [matrix.T if _is_tall(matrix) else matrix for matrix in matrices]
    wide = [each / each.norm().clamp(min=torch.finfo(each.dtype).tiny) for each in wide]
    by_side: dict[int, list[int]] = defaultdict(list)
    for number, matrix in enumerate(wide):
        by_side[len(matrix)].append(number)
    directions = dict[int, Tensor]()
    for numbers in by_side.values():
        grams = torch.stack([wide[number] @ wide[number].T for number in numbers])
        for number, factor in zip(numbers, _factors(grams), strict=True):
            rows = factor @ wide[number]
            directions[number] = rows.T if _is_tall(matrices[number]) else rows
    return [directions[number] for number in range(len(matrices))]


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _factors(gram: Tensor) -> Tensor:
    """Return P such that P X is the polynomial of X, of (K, M, M) matrices X X^T.

    In a round, X becomes Q X with Q = a + b G + c G^2, and so P becomes Q P and G becomes Q G Q.
    """
    factor = change = _change(gram)
    for _ in range(ROUNDS - 1):
        gram = change @ gram @ change
        change = _change(gram)
        factor = change @ factor
    return factor


def _change(gram: Tensor) -> Tensor:
    change = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
    change.diagonal(dim1=1, dim2=2).add_(A)
    return change


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """Return the matrices and kernels between the first layer and the last, embeddings aside."""
    embeddings = {
        parameter
        for module in network.modules()
        if isinstance(module, nn.Embedding | TimestepEmbedding)
        for parameter in module.parameters()
    }
    matrices = [
        parameter
        for name, parameter in network.named_parameters()
        # Those of other names are positions.
        if name.endswith("weight") and parameter.dim() > 1 and parameter not in embeddings
    ]
    return matrices[1:-1]
