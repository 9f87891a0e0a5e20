"""Features, weight, bias -> features: convolutions in the form that a CPU computes fastest.

Each is the same function of its weight as the plain convolution, so that its gradient is, too:

- Nearest-neighbour upsampling and the 3x3 convolution after it are one transposed convolution of
  4x4, with 4/9 of the products.
- The gradient of a bias is summed by torch in float32, and of a transposed convolution always:
  oneDNN takes up to 16 times as long.
- For fewer than `MANY` images torch has a slow kernel of size 1x1 in float32. As positions are
  independent there, the rows of images are passed as images.

Letters: B images, C channels, O output channels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from adm.networks.prefer import prefers_speed

MANY = 16  # images


class Conv(nn.Conv2d):
    """A convolution, after nearest-neighbour upsampling if `doubled`."""

    def forward(self, input: Tensor, doubled: bool = False) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W), or of half or double the height and width."""
        fast = input.device.type == "cpu" and prefers_speed(self, input)
        if fast and doubled:
            return self._transposed(input)
        x = F.interpolate(input, scale_factor=2.0) if doubled else input
        if not fast or input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        if self.kernel_size == (1, 1) and len(x) < MANY:
            return self._by_rows(x)
        return Convolve.apply(x, self.weight, self.bias, *self._sizes, False)  # type: ignore

    @property
    def _sizes(self) -> tuple[int, int]:
        """Stride and padding, of both sides."""
        return self.stride[0], self.kernel_size[0] // 2

    def _transposed(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        weight = up_weight(self.weight).to(x.dtype, memory_format=torch.channels_last)
        return Convolve.apply(x, weight, self.bias.to(x.dtype), 2, 1, True)  # type: ignore

    def _by_rows(self, x: Tensor) -> Tensor:
        """The rows of images as images of one row, (B, C, H, W) -> (B, O, H, W)."""
        b, c, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(b * height, 1, width, c).permute(0, 3, 1, 2)
        y = Convolve.apply(rows, self.weight, self.bias, 1, 0, False).permute(0, 2, 3, 1)
        return y.reshape(b, height, width, -1).permute(0, 3, 1, 2)


class Convolve(torch.autograd.Function):
    """A convolution; the gradient of its bias is summed by torch."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        padding: int,
        transposed: bool,
    ) -> Tensor:
        ctx.settings = ([stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], 1)
        ctx.save_for_backward(x, weight)
        return torch.convolution(x, weight, bias, *ctx.settings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        needed = [*ctx.needs_input_grad[:2], False]
        dx, dw, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *ctx.settings, needed
        )
        return dx, dw, gradient.sum((0, 2, 3)), None, None, None


def up_weight(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) -> (C, O, 4, 4), the weight of a transposed convolution of stride 2.

    It equals nearest-neighbour upsampling and then the convolution: row by row, an input pixel
    reaches four rows, two of them through two weights.
    """
    weight = F.pad(weight, (1, 1, 1, 1))
    weight = weight[:, :, 1:] + weight[:, :, :-1]
    weight = weight[..., 1:] + weight[..., :-1]
    return weight.flip(2, 3).transpose(0, 1)
