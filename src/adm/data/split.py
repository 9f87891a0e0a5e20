"""Seed, position in a shuffled stream -> index; Source -> training Source, validation Source."""

from functools import lru_cache

import numpy as np

from adm.data.source import Source
from adm.shown import count_of
from adm.spec import SettingError, out_of_range

# Starts of random streams, far from each other and from those of other uses of the same key.
ORDER, HELD_OUT = [0, 0, 0, 1], [0, 0, 1, 1]
CACHED_PASSES = 4  # permutations: training and validation, each with a batch across two passes


def shuffle(seed: int, total: int, start: int, count: int) -> list[int]:
    """Indices of the images at positions start..start + count - 1 of an endless shuffled stream.

    Each pass over the `total` images is another permutation, a function of (seed, pass). Any
    position can be computed directly, so resuming needs no state.

    Args:
        total: at least 1.
    """
    indices: list[int] = []
    while len(indices) < count:
        one_pass, place = divmod(start + len(indices), total)
        left = count - len(indices)
        indices += _permutation(seed, total, one_pass)[place : place + left].tolist()
    return indices


@lru_cache(CACHED_PASSES)
def _permutation(seed: int, total: int, one_pass: int) -> np.ndarray:
    """(total,) int64. For a million images this takes tens of milliseconds, hence the cache."""
    return _generator(seed, one_pass, ORDER).permutation(total)


def _generator(seed: int, stream: int, start: list[int]) -> np.random.Generator:
    key = np.array([seed, stream], np.uint64)  # NumPy may convert a list of large ints to floats
    return np.random.Generator(np.random.Philox(key=key, counter=start))


def hold_out(source: Source, share: float, seed: int = 0) -> tuple[Source, Source]:
    """Split into (training, validation), where the part of an image depends on (seed, index).

    Images that are appended to the source do not move the earlier ones.

    Args:
        source: any source.
        share: fraction of the images to hold out, in expectation.
        seed: of the random choice.

    Raises:
        SettingError: one of the parts would be empty.
    """
    if not 0 < share < 1:
        raise out_of_range("hold_out", "a fraction between 0 and 1", share)
    held_out = _generator(seed, 0, HELD_OUT).random(len(source)) < share
    if held_out.all() or not held_out.any():
        raise SettingError(
            "hold_out",
            f"{share:g} of {count_of(len(source), 'image')} leaves none to train or to validate "
            "on; give another share, or more images",
        )
    training, validation = (np.flatnonzero(side) for side in (~held_out, held_out))
    return source.subset(training), source.subset(validation, f"{source.name}, held out")
