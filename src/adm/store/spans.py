"""Spans of numbers, such as the indices of images -> their union, difference and parts."""

from collections.abc import Iterable, Iterator, Sequence


def union(spans: Iterable[range]) -> list[range]:
    """Return the same numbers in the fewest spans, in order."""
    merged: list[range] = []
    for span in sorted(filter(len, spans), key=lambda span: span.start):
        if merged and span.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(span.stop, merged[-1].stop))
        else:
            merged.append(span)
    return merged


def without(spans: Iterable[range], others: Iterable[range]) -> list[range]:
    """Return the numbers of spans that are in none of the others."""
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
    """Return the numbers of spans that are in one of the others."""
    whole = list(spans)
    return without(whole, without(whole, others))


def divide(spans: Iterable[range], size: int) -> Iterator[range]:
    """Divide each span into pieces of `size` numbers from its start on."""
    for span in spans:
        for start in range(span.start, span.stop, size):
            yield range(start, min(start + size, span.stop))
