"""T, count -> the levels that a shorter process keeps."""

import math
from collections.abc import Callable, Sequence

import numpy as np


def even(total: int, count: int) -> list[int]:
    """`count` levels of 1..T, evenly spaced, both ends kept.

    Raises:
        ValueError: count outside 1..T.
    """
    if not 1 <= count <= total:
        raise ValueError(f"cannot keep {count} of {total} levels; ask for 1 to {total}")
    return sections(total, [count])


def sections(total: int, counts: Sequence[int]) -> list[int]:
    """Cut 1..T into equal sections and keep some evenly spaced levels of each.

    Improved DDPM, section 4. Where T does not divide, the first sections are one level longer.
    Half steps round to even. A section may keep none.

    Raises:
        ValueError: a section is asked for more levels than it has.
    """
    if not counts:
        raise ValueError("give at least one section, such as [25]")
    size, extra = divmod(total, len(counts))
    levels: list[int] = []
    start = 1
    for i, count in enumerate(counts):
        length = size + (i < extra)
        if not 0 <= count <= length:
            raise ValueError(
                f"section {i + 1} of {len(counts)} has {length} levels and cannot keep {count}; "
                f"ask for 0 to {length}"
            )
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        # The released system adds the stride up rather than multiplying, and so must we: the two
        # round differently for a few counts.
        position = 0.0
        for _ in range(count):
            levels.append(start + round(position))
            position += stride
        start += length
    return levels


def strided(total: int, count: int) -> list[int]:
    """DDIM's spacing as released: the smallest whole stride from level 1 that gives `count`.

    It usually leaves out the noisiest levels (25 of 1000 ends at level 961), although sampling
    still starts from pure noise, and most counts have no such stride. `even` takes any count.

    Raises:
        ValueError: no whole stride gives this count; names the nearest that one does.
    """
    counts = {len(range(0, total, stride)): stride for stride in range(total - 1, 0, -1)}
    if total < 2:
        raise ValueError(f"a process of {total} steps cannot be strided; use even spacing")
    if count not in counts:
        near = sorted(counts, key=lambda c: abs(c - count))[:2]
        raise ValueError(
            f"no whole stride takes {count} of {total} levels; "
            f"use {' or '.join(map(str, near))}, or even spacing, which takes any count"
        )
    return list(range(1, total + 1, counts[count]))


def quadratic(total: int, count: int) -> list[int]:
    """`count` levels, dense near the clean image: squares of an even grid, both ends kept.

    1 + (T - 1) (i / (count - 1))^2 for i = 0..count - 1, rounded; a level that would repeat is
    moved up to the next free one, so any count works. The DDIM paper's own is `ddim_quadratic`.

    Raises:
        ValueError: count outside 1..T.
    """
    if not 1 <= count <= total:
        raise ValueError(f"cannot keep {count} of {total} levels; ask for 1 to {total}")
    # Squares repeat the smallest levels once rounded; push each past the one before it.
    wanted = 1 + (np.linspace(0, 1, count) ** 2 * (total - 1)).round().astype(int)
    offsets = np.maximum.accumulate(wanted - np.arange(count))
    return [int(level) for level in np.minimum(offsets, total - count + 1) + np.arange(count)]


def ddim_quadratic(total: int, count: int) -> list[int]:
    """DDIM's quadratic spacing: floor(c i^2) for i = 1..count (DDIM, appendix D.2).

    The paper chooses c so that the last level is close to T; with c = T / count^2 it is T. (The
    code released with the paper stops at 0.8 T.) With more than sqrt(T) levels, which is 31 of
    1000, the first would be 0, the clean image; with many more, levels would repeat.

    Raises:
        ValueError: count outside 1..sqrt(T); names the largest that works.
    """
    largest = math.isqrt(total)
    if not 1 <= count <= largest:
        raise ValueError(
            f"floor(c i^2) does not give {count} different levels of 1..{total}; ask for 1 to "
            f"{largest}, or quadratic spacing, which takes any count"
        )
    return [total * i**2 // count**2 for i in range(1, count + 1)]


SPACINGS: dict[str, Callable[[int, int], list[int]]] = {
    "even": even,
    "strided": strided,
    "quadratic": quadratic,
    "ddim_quadratic": ddim_quadratic,
}


def parse(total: int, text: str) -> list[int]:
    """Read a spacing from text: "" keeps all, "25" even, "10,15,20" sections, "ddim25" strided.

    Raises:
        ValueError: not one of these forms, or the spacing cannot be had.
    """
    if not text:
        return list(range(1, total + 1))
    try:
        if text.startswith("ddim"):
            return strided(total, int(text.removeprefix("ddim")))
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        if "invalid literal" not in str(error):
            raise
        raise ValueError(
            f"cannot read the spacing {text!r}; write 25, or sections 10,15,20, or ddim25"
        ) from None
    return sections(total, counts)
