"""Seed, position in a shuffled stream -> index; Source -> training Source, validation Source."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from adm.data.source import Source
from adm.shown import count_of

ORDER = [0, 0, 0, 1]  # start of the random stream, far from those of other uses of the same key
PASSES_KEPT = 4  # cached permutations: training and validation, each with a batch across two passes
INCREMENT = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, as in SplitMix64
MIXES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def shuffled(seed: int, total: int, start: int, count: int) -> list[int]:
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


@lru_cache(PASSES_KEPT)
def _permutation(seed: int, total: int, one_pass: int) -> np.ndarray:
    """(total,) int64. For a million images this takes tens of milliseconds, hence the cache."""
    key = np.array([seed, one_pass], np.uint64)  # NumPy may convert a list of large ints to floats
    bits = np.random.Philox(key=key, counter=ORDER)
    return np.random.Generator(bits).permutation(total)


def held_out(source: Source, part: float, seed: int = 0) -> tuple[Source, Source]:
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
        raise ValueError(
            f"cannot hold out {part:g} of {count_of(total, 'image')}; give a fraction below 1, or "
            f"an integer from 1 to {total - 1}"
        )
    hashes = _hashes(total, seed)
    held = np.zeros(total, bool)
    if part < 1:
        held = hashes < np.uint64(part * 2.0**64)
    else:
        held[np.argsort(hashes, kind="stable")[: int(part)]] = True
    if held.all() or not held.any():
        raise ValueError(
            f"a fraction of {part:g} of {count_of(total, 'image')} holds out {held.sum()}; give a "
            f"number, such as {max(1, total // 10)}"
        )
    training, validation = (np.flatnonzero(side) for side in (~held, held))
    return subset(source, training, source.name), subset(
        source, validation, f"{source.name}, held out"
    )


def subset(source: Source, indices: np.ndarray, name: str) -> Source:
    """A source of the images at `indices` (M,), in that order, with all classes."""
    kept = indices.tolist()
    crop, read_many, path, open_ = source.crop, source.read_many, source.path, source.open
    listed = source.listed
    return replace(
        source,
        name=name,
        labels=source.labels[torch.from_numpy(indices)],
        read=lambda index: source.read(kept[index]),
        crop=None if crop is None else lambda index, place: crop(kept[index], place),
        read_many=None
        if read_many is None
        else lambda chosen: read_many([kept[index] for index in chosen]),
        path=None if path is None else lambda index: path(kept[index]),
        open=None if open_ is None else lambda index: open_(kept[index]),
        skipped=[],
        listed=None if listed is None else lambda index: listed(kept[index]),
    )


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
