"""sneaker:16,bag:4 or all:8 -> one label an image."""

from collections.abc import Sequence
from difflib import get_close_matches

MOST_IMAGES = 10_000_000


def parse_classes(text: str, classes: Sequence[str]) -> list[int]:
    """Read which classes are wanted, and how many images of each (1 where not said).

    Args:
        text: names or numbers of classes, or `all`, each with `:count`; separated by commas.
        classes: the model's, in order.

    Raises:
        ValueError: an unknown class (with near matches), or a count that is no positive number.
    """
    labels: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.partition(":")
        number = int(count) if count.isdecimal() else 0
        if count and not 0 < number <= MOST_IMAGES:
            raise ValueError(f"cannot read {part!r}; write a class and a count, as in bag:4")
        chosen = range(len(classes)) if name == "all" else [_label(name, classes)]
        labels += [label for label in chosen for _ in range(number or 1)]
    if not labels:
        raise ValueError("no class given; write --classes all:8, or sneaker:16,bag:4")
    return labels


def _label(name: str, classes: Sequence[str]) -> int:
    folded = [c.casefold() for c in classes]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    near = get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    hint = " or ".join(near) if near else ", ".join(list(classes)[:20])
    raise ValueError(f"unknown class {name!r}; did you mean {hint}?")
