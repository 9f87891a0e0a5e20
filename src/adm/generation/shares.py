"""Text such as 2/4 -> Shard; Shard, spans of images -> its own; spans without others.

A span is a range of indices of images.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from adm.shown import shown

FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """One of several processes that share the images of a job.

    Attributes:
        number: of this one, from 1 to `of`.
        of: number of all.
    """

    number: int
    of: int

    @classmethod
    def parsed(cls, text: str) -> "Shard":
        """Read a text such as 2/4.

        Raises:
            ValueError: it has another form, or names none of the shards.
        """
        match = FORM.fullmatch(text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(
                f"shard=... must be a number from 1 to that of all shards, such as 2/4, got "
                f"{shown(text)}; number four shards 1/4, 2/4, 3/4 and 4/4"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, spans: Iterable[range], block: int) -> list[range]:
        """Return this shard's part of spans: whole blocks, as many as any other's or one more."""
        whole = union(spans)
        numbers = [range(span.start // block, -(-span.stop // block)) for span in whole]
        total, before, found = sum(map(len, numbers)), 0, list[range]()
        first, last = (total * i // self.of for i in (self.number - 1, self.number))
        for span, blocks in zip(whole, numbers, strict=True):
            own = blocks[max(0, first - before) : max(0, last - before)]
            before += len(blocks)
            own_span = range(own.start * block, own.stop * block)
            found.append(range(max(span.start, own_span.start), min(span.stop, own_span.stop)))
        return union(found)


def union(spans: Iterable[range]) -> list[range]:
    """Return the same indices in the fewest spans, in order."""
    found: list[range] = []
    for span in sorted(filter(len, spans), key=lambda span: span.start):
        if found and span.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(span.stop, found[-1].stop))
        else:
            found.append(span)
    return found


def without(spans: Iterable[range], others: Iterable[range]) -> list[range]:
    """Return the indices of spans that are in none of the others."""
    left, removed = list[range](), union(others)
    for span in union(spans):
        start = span.start
        for other in removed:
            if other.stop <= start or other.start >= span.stop:
                continue
            left.append(range(start, max(start, other.start)))
            start = other.stop
        left.append(range(start, span.stop))
    return union(left)


def common(spans: Iterable[range], others: Sequence[range]) -> list[range]:
    """Return the indices of spans that are in one of the others."""
    kept = list(spans)
    return without(kept, without(kept, others))


def batches(spans: Iterable[range], size: int) -> Iterator[range]:
    """Divide each span into batches of `size` images from its start on."""
    for span in spans:
        for start in range(span.start, span.stop, size):
            yield range(start, min(start + size, span.stop))
