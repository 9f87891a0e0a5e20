"""queries, keys, values -> attended values, on a CPU, without the weights of all pairs in memory.

A few heads at a time, so that their weights stay in the processor's cache; the backward pass makes
the weights again. torch's own operation of this kind takes up to nine times as long for few
positions in half precision on a CPU.

Letters: B images, L positions, C channels, D = C / heads.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PAIRS = 2**20  # of positions whose weights are in memory at once, or those of one head


class Attend(torch.autograd.Function):
    """qkv (B, L, 3C), heads -> (B, L, C)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> Tensor:
        batch, length = qkv.shape[:2]
        parts = qkv.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts.reshape(3, batch * heads, length, -1)  # each (B heads, L, D)
        q = q * q.shape[-1] ** -0.5  # a copy, for `parts` may be a view of qkv
        out = torch.empty_like(v)
        for some in _chunks(len(q), length):
            torch.bmm(_weights(q[some], k[some]), v[some], out=out[some])
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
        by = q.new_empty(3, *q.shape)
        for some in _chunks(len(q), length):
            weights = _weights(q[some], k[some])
            torch.bmm(weights.mT, g[some], out=by[2, some])
            by_weights = torch.bmm(g[some], v[some].mT)
            by_scores = torch.ops.aten._softmax_backward_data(by_weights, weights, -1, q.dtype)
            torch.bmm(by_scores, k[some], out=by[0, some])
            torch.bmm(by_scores.mT, q[some], out=by[1, some])
        by[0] *= q.shape[-1] ** -0.5
        joined = by.view(3, batch, ctx.heads, length, -1).permute(1, 3, 0, 2, 4)
        return joined.reshape(batch, length, 3 * width), None


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return torch.bmm(q, k.mT).softmax(-1)


def _chunks(heads: int, length: int) -> Iterator[slice]:
    size = max(1, PAIRS // length**2)
    return (slice(start, start + size) for start in range(0, heads, size))
