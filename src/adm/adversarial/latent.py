"""Keys or indices -> (B, N) noise: standard normal in training, truncated in sampling.

Every row comes from a stream of its own (Philox), so that it does not depend on the batch, the
device or the number of processes.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adm.limits import MOST_TRUNCATION
from adm.spec import SettingError

DRAWS = 1 << 32  # first counter of the draws below, far from those of other uses of the same key


def normal(keys: Tensor, draw: int, width: int) -> Tensor:
    """Return (B, width) float32, standard normal, of (B,) int64 keys; on their device."""
    return _rows(keys, draw, lambda stream: stream.standard_normal(width, dtype=np.float32))


def uniform(keys: Tensor, draw: int, width: int) -> Tensor:
    """Return (B, width) float32, uniform in [0, 1), of (B,) int64 keys; on their device."""
    return _rows(keys, draw, lambda stream: stream.random(width, dtype=np.float32))


def truncated(seed: int, indices: Sequence[int], width: int, limit: float | None) -> Tensor:
    """Return standard normal noise whose entries are conditioned on |z| <= `limit`.

    z = Phi^-1(Phi(-limit) + u (1 - 2 Phi(-limit))) for uniform u, where Phi is the distribution
    function of the normal distribution. It has the distribution of redrawing entries until they are
    in the range (Brock et al. 2019, section 3.1), and an image changes continuously with the limit.

    Args:
        seed: of all images.
        indices: of the images; with the seed, an index determines u.
        width: N.
        limit: in (0, `MOST_TRUNCATION`]; None for no limit.

    Returns:
        (B, N) float32 on the CPU.

    Raises:
        ValueError: the limit is out of range.
    """
    check_truncation(limit)
    uniforms = np.stack([_stream(seed, index, 0).random(width) for index in indices])
    below = 0.0 if limit is None else 0.5 * math.erfc(limit / math.sqrt(2))
    u = torch.from_numpy(below + uniforms * (1 - 2 * below))
    tiny = torch.finfo(torch.float64).tiny  # u may be 0, whose normal quantile is infinite
    noise = torch.special.ndtri(u.clamp(min=tiny)).float()
    return noise if limit is None else noise.clamp(-limit, limit)


def check_truncation(limit: float | None) -> None:
    """Raise ValueError unless a limit of the noise is in range."""
    if limit is not None and not 0 < limit <= MOST_TRUNCATION:
        raise SettingError("truncation", f"above 0 and at most {MOST_TRUNCATION:g}", limit)


def _rows(
    keys: Tensor, draw: int, drawn: Callable[[np.random.Generator], NDArray[np.float32]]
) -> Tensor:
    rows = [drawn(_stream(key % (1 << 64), 0, DRAWS + draw)) for key in keys.tolist()]
    return torch.from_numpy(np.stack(rows)).to(keys.device)


def _stream(first: int, second: int, draw: int) -> np.random.Generator:
    key = np.array([first, second], np.uint64)  # NumPy may convert a list of large ints to floats
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, draw, 0]))
