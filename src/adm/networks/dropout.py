"""features, one key an image -> features, some of them zero: dropout as a function.

A torch generator gives a mask that depends on the batch, its order and the device. Here the mask
of an image is a function of (its key, the layer, the element) and of nothing else, so that micro-
batches, ranks, resumed runs and recomputed activations all drop the same elements.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Odd multipliers, and shifts, that spread every bit of a word over the whole of it
# (Appleby 2011, MurmurHash3, the 32-bit finaliser).
MULTIPLIERS = (0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32)
APART = 0x9E3779B1 - 2**32  # keeps the two words of an image different
SHARES = 2**16  # of the numbers that a half of a word can be


class Dropout(nn.Module):
    """Zero a share `p` of the elements in training mode, and scale the rest to keep the mean.

    Attributes:
        p: probability in [0, 1) that an element is dropped, to 1 part in 65,536.
        keys: (B,) int64, one an image; None draws the mask from torch's own generator instead.
        layer: told to the mask, so that no two layers drop alike.

    Raises:
        ValueError: p is not in [0, 1), or there are not as many keys as images.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must be in [0, 1), got {p}")
        self.p = p
        self.keys: Tensor | None = None
        self.layer = 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.p == 0:
            return x
        if self.keys is None:
            return F.dropout(x, self.p)
        if len(self.keys) != len(x):
            raise ValueError(
                f"dropout has {len(self.keys)} keys for {len(x)} images; give key_dropout the keys "
                "of the images that the network is called with"
            )
        return x * kept(self.keys.to(x.device), self.layer, x.shape[1:], self.p, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def key_dropout(network: nn.Module, keys: Tensor | None) -> None:
    """Give every dropout of a network the keys of the images that it is called with next.

    They stay until they are replaced; they must not change between a forward pass and its
    backward pass where activations are recomputed.

    Args:
        keys: (B,) int64, such as a hash of (seed, position of the image in the stream); None
            returns to torch's generator.
    """
    layers = (module for module in network.modules() if isinstance(module, Dropout))
    for number, layer in enumerate(layers):
        layer.keys, layer.layer = keys, number


def kept(keys: Tensor, layer: int, shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """The factor of every element: 0 where dropped, elsewhere what keeps the mean.

    Args:
        keys: (B,) int64.
        shape: (C, ...) of one image's features.
        p: probability of 0.

    Returns:
        (B, C, ...), in memory with channels last.
    """
    channels, *sides = shape
    count = shape.numel()
    words = torch.arange((count + 1) // 2, dtype=torch.int32, device=keys.device)
    low, high = (half.to(torch.int32) for half in ((keys << 32) >> 32, keys >> 32))
    second = mixed(high ^ mixed(low ^ mixed(torch.full_like(low, layer))))
    first = mixed(low ^ mixed(second + APART))
    words = _stirred(mixed(words) ^ first[:, None], MULTIPLIERS[0], 16)
    words = _stirred(words.add_(second[:, None]), MULTIPLIERS[1], 15)
    halves = words.view(torch.int16)[:, :count]  # two numbers a word
    threshold = round(p * SHARES)
    factors = (halves >= threshold - SHARES // 2).to(dtype)
    factors *= SHARES / (SHARES - threshold)
    return factors.view(len(keys), *sides, channels).movedim(-1, 1)


def mixed(words: Tensor) -> Tensor:
    """Scramble int32 words, each by itself; a bijection in which every bit heeds every other."""
    words = words ^ _shifted(words, 16)
    words = _stirred(words, MULTIPLIERS[0], 13)
    return _stirred(words, MULTIPLIERS[1], 16)


def _stirred(words: Tensor, multiplier: int, shift: int) -> Tensor:
    """Multiply, then bring high bits low; in place, because memory is what this costs."""
    words *= multiplier
    words ^= _shifted(words, shift)
    return words


def _shifted(words: Tensor, shift: int) -> Tensor:
    """A shift that brings in zeros, where torch's brings in the sign."""
    return (words >> shift).bitwise_and_((1 << (32 - shift)) - 1)
