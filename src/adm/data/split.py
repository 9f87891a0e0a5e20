"""Seed, position in a shuffled stream -> index; Source -> training Source, validation Source."""

from functools import lru_cache

import numpy as np

from adm.data.source import Source
from adm.shown import count_of
from adm.spec import SettingError, out_of_range

ORDER = [0, 0, 0, 1]  # start of the random stream, far from those of other uses of the same key
CACHED_PASSES = 4  # permutations: training and validation, each with a batch across two passes
INCREMENT = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, as in SplitMix64
MIXES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def shuffle(seed: int, total: int, start: int, count: int) -> list[int]:
    """Indices of the images at positions start..start + count - 1 of an endless shuffled stream.

    Each pass over the `total` images is another permutation, a function of (seed, pass). Any
    position can be computed directly, so resuming needs no state.

    Raises:
        ValueError: `total` is below 1.
    """
    if total < 1:
        raise ValueError(f"the data must have at least 1 image, got {total}; give other data")
    indices: list[int] = []
    while len(indices) < count:
        one_pass, place = divmod(start + len(indices), total)
        left = count - len(indices)
        indices += _permutation(seed, total, one_pass)[place : place + left].tolist()
    return indices


@lru_cache(CACHED_PASSES)
def _permutation(seed: int, total: int, one_pass: int) -> np.ndarray:
    """(total,) int64. For a million images this takes tens of milliseconds, hence the cache."""
    key = np.array([seed, one_pass], np.uint64)  # NumPy may convert a list of large ints to floats
    return np.random.Generator(np.random.Philox(key=key, counter=ORDER)).permutation(total)


def hold_out(source: Source, part: float, seed: int = 0) -> tuple[Source, Source]:
    """Split into (training, validation), where the part of an image depends on (seed, index).

    If `part` is a fraction, appending images to the source does not move the earlier ones.

    Args:
        source: any source.
        part: if below 1, the fraction of images to hold out, in expectation; otherwise their exact
            number.
        seed: of the random choice.

    Raises:
        ValueError: one of the parts would be empty, or the number is not an integer.
    """
    total = len(source)
    if not 0 < part < total or (part >= 1 and part != int(part)):
        expected = f"a fraction below 1, or an integer from 1 to {total - 1}"
        raise out_of_range("hold_out", expected, part)
    hashes = _hashes(total, seed)
    held_out = np.zeros(total, bool)
    if part < 1:
        held_out = hashes < np.uint64(part * 2.0**64)
    else:
        held_out[np.argsort(hashes, kind="stable")[: int(part)]] = True
    if held_out.all() or not held_out.any():
        raise SettingError(
            "hold_out",
            f"{part:g} of {count_of(total, 'image')} leaves none on one side; give a number, such "
            f"as {{hold_out={max(1, total // 10)}}}",
        )
    training, validation = (np.flatnonzero(side) for side in (~held_out, held_out))
    return source.subset(training), source.subset(validation, f"{source.name}, held out")


def _hashes(total: int, seed: int) -> np.ndarray:
    """(total,) uint64: SplitMix64 (Steele, Lea and Flood 2014) of each index, by seed."""
    with np.errstate(over="ignore"):
        start = _mixed(np.array([seed % 2**64], np.uint64))
        counter = np.arange(1, total + 1, dtype=np.uint64)
        return _mixed(start + counter * np.uint64(INCREMENT))


def _mixed(state: np.ndarray) -> np.ndarray:
    for shift, factor in MIXES:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))
