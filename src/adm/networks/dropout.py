"""Features, keys -> features: dropout as a function of one key per image.

Masks from a torch generator depend on the batch, its order and the device. Here the mask of an
image is a function of (its key, the layer, the element) alone, so that micro-batches, ranks,
resumed runs and recomputed activations all drop the same elements.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Multipliers of the 32-bit finaliser of MurmurHash3 (Appleby 2011), in which every bit of the input
# affects every bit of the output.
MULTIPLIERS = (0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32)
SECOND_WORD = 0x9E3779B1 - 2**32  # added so that the two hash words of an image differ
HALF_WORDS = 2**16  # values of half a word


class Dropout(nn.Module):
    """In training mode, zero elements with probability `p` and scale the others to keep the mean.

    Attributes:
        p: probability in [0, 1), rounded to 1 part in 65,536 where there are keys.
        keys: (B,) int64, one per image; None draws the mask from torch's generator instead.
        layer: number of this layer in its network, so that no two layers share a mask.

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
        return x * dropout_factors(self.keys.to(x.device), self.layer, x.shape[1:], self.p, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def key_dropout(network: nn.Module, keys: Tensor | None) -> None:
    """Give every dropout layer the keys of the images that the network is called with next.

    They stay until they are replaced. Where activations are recomputed, they must not change
    between a forward pass and its backward pass.

    Args:
        keys: (B,) int64, such as a hash of (seed, position of the image in the stream); None
            returns to torch's generator.
    """
    layers = (module for module in network.modules() if isinstance(module, Dropout))
    for number, layer in enumerate(layers):
        layer.keys, layer.layer = keys, number


def dropout_factors(
    keys: Tensor, layer: int, shape: torch.Size, p: float, dtype: torch.dtype
) -> Tensor:
    """The factor of every element: 0 where it is dropped, and 1 / (1 - p) elsewhere.

    Args:
        keys: (B,) int64.
        shape: (C, ...) of one image's features.
        p: probability of 0.

    Returns:
        (B, C, ...), laid out with channels last.
    """
    channels, *sides = shape
    count = shape.numel()
    words = torch.arange((count + 1) // 2, dtype=torch.int32, device=keys.device)
    low, high = (half.to(torch.int32) for half in ((keys << 32) >> 32, keys >> 32))
    second = hashed(high ^ hashed(low ^ hashed(torch.full_like(low, layer))))
    first = hashed(low ^ hashed(second + SECOND_WORD))
    words = _multiply_shift(hashed(words) ^ first[:, None], MULTIPLIERS[0], 16)
    words = _multiply_shift(words.add_(second[:, None]), MULTIPLIERS[1], 15)
    halves = words.view(torch.int16)[:, :count]  # two random numbers per word
    threshold = round(p * HALF_WORDS)
    factors = (halves >= threshold - HALF_WORDS // 2).to(dtype)
    factors *= HALF_WORDS / (HALF_WORDS - threshold)
    return factors.view(len(keys), *sides, channels).movedim(-1, 1)


def hashed(words: Tensor) -> Tensor:
    """Hash int32 words elementwise, by a bijection (MurmurHash3's 32-bit finaliser)."""
    words = words ^ _shifted(words, 16)
    words = _multiply_shift(words, MULTIPLIERS[0], 13)
    return _multiply_shift(words, MULTIPLIERS[1], 16)


def _multiply_shift(words: Tensor, multiplier: int, shift: int) -> Tensor:
    """Multiply, then xor the high bits into the low ones; in place, to save memory traffic."""
    words *= multiplier
    words ^= _shifted(words, shift)
    return words


def _shifted(words: Tensor, shift: int) -> Tensor:
    """A logical right shift; torch's shifts of signed integers are arithmetic."""
    return (words >> shift).bitwise_and_((1 << (32 - shift)) - 1)
