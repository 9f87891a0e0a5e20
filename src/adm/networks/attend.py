"""Queries, keys, values -> attended values, on a CPU without storing attention weights.

Heads are processed a few at a time, so that their attention weights stay in the processor's cache;
the backward pass recomputes the weights. For few positions in half precision on a CPU, torch's own
memory-efficient attention takes up to nine times as long.

Letters: B images, L positions, C channels, D = C / heads.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_WEIGHTS = 2**20  # attention weights in memory at once; those of one head if they are more


class Attend(torch.autograd.Function):
    """qkv (B, L, 3C), heads -> (B, L, C)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> Tensor:
        batch, length = qkv.shape[:2]
        parts = qkv.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts.reshape(3, batch * heads, length, -1)  # each (B heads, L, D)
        q = q * q.shape[-1] ** -0.5  # a copy, for `parts` may be a view of qkv
        out = torch.empty_like(v)
        for chunk in _chunks(len(q), length):
            torch.bmm(_weights(q[chunk], k[chunk]), v[chunk], out=out[chunk])
        ctx.heads = heads
        ctx.save_for_backward(q, k, v)
        return out.view(batch, heads, length, -1).transpose(1, 2).reshape(batch, length, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        q, k, v = ctx.saved_tensors
        batch, length, width = gradient.shape
        split = (batch, length, ctx.heads, width // ctx.heads)
        g = gradient.reshape(split).transpose(1, 2).reshape_as(q)
        grads = q.new_empty(3, *q.shape)  # of q, k and v
        for chunk in _chunks(len(q), length):
            weights = _weights(q[chunk], k[chunk])
            torch.bmm(weights.mT, g[chunk], out=grads[2, chunk])
            grad_weights = torch.bmm(g[chunk], v[chunk].mT)
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, q.dtype)
            torch.bmm(grad_scores, k[chunk], out=grads[0, chunk])
            torch.bmm(grad_scores.mT, q[chunk], out=grads[1, chunk])
        grads[0] *= q.shape[-1] ** -0.5
        joined = grads.view(3, batch, ctx.heads, length, -1).permute(1, 3, 0, 2, 4)
        return joined.reshape(batch, length, 3 * width), None


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return torch.bmm(q, k.mT).softmax(-1)


def _chunks(heads: int, length: int) -> Iterator[slice]:
    size = max(1, MAX_WEIGHTS // length**2)
    return (slice(start, start + size) for start in range(0, heads, size))
