"""T, count -> list[int], the levels of 1..T that a shorter process visits, ascending."""

import math


def even(total: int, count: int) -> list[int]:
    """Return `count` evenly spaced levels of 1..T, both ends included (Improved DDPM, section 4).

    Half integers round to even.

    Raises:
        ValueError: `count` is not in 1..T.
    """
    if not 1 <= count <= total:
        raise ValueError(f"cannot select {count} of {total} levels; use 1 to {total}")
    stride, position, levels = (total - 1) / max(1, count - 1), 0.0, list[int]()
    # The released system accumulates the stride rather than multiplying it; the two round
    # differently for a few counts.
    for _ in range(count):
        levels.append(1 + round(position))
        position += stride
    return levels


def strided(total: int, count: int) -> list[int]:
    """Return the released DDIM spacing: the smallest integer stride from level 1 to give `count`.

    It usually omits the noisiest levels (25 of 1000 ends at level 961), although sampling still
    starts from pure noise. Most counts have no such stride; `even` takes any count.

    Raises:
        ValueError: no integer stride gives this count; names the nearest counts with one.
    """
    counts = {len(range(0, total, stride)): stride for stride in range(total - 1, 0, -1)}
    if total < 2:
        raise ValueError(f"a process of {total} steps cannot be strided; use even spacing")
    if count not in counts:
        near = sorted(counts, key=lambda c: abs(c - count))[:2]
        raise ValueError(
            f"no integer stride gives {count} of {total} levels; "
            f"use {' or '.join(map(str, near))}, or even spacing, which takes any count"
        )
    return list(range(1, total + 1, counts[count]))


def ddim_quadratic(total: int, count: int) -> list[int]:
    """Return DDIM's quadratic spacing: floor(c i^2) for i = 1..count (DDIM, appendix D.2).

    The paper chooses c so that the last level is close to T; with c = T / count^2 it is T. (The
    code released with the paper stops at 0.8 T.) With more than sqrt(T) levels, 31 of 1000, the
    first would be level 0, the clean image, and with many more some would repeat.

    Raises:
        ValueError: `count` is not in 1..sqrt(T); names the largest valid count.
    """
    largest = math.isqrt(total)
    if not 1 <= count <= largest:
        raise ValueError(
            f"floor(c i^2) does not give {count} different levels of 1..{total}; use 1 to "
            f"{largest}, or even spacing, which takes any count"
        )
    return [total * i**2 // count**2 for i in range(1, count + 1)]
