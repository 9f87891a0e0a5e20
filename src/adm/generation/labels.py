"""Classes, names of classes, count -> labels, one per image."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TypeAlias

from torch import Tensor

MOST_IMAGES = 10_000_000
DEFAULT_COUNT = 16

# "sneaker:16,bag:4", "all:8"; {"sneaker": 16}; names or numbers, one per image; (N,) labels.
Classes: TypeAlias = str | int | Mapping[str, int] | Sequence[str | int] | Tensor


def labels_of(
    classes: Classes | None, known: Sequence[str], count: int | None = None
) -> tuple[list[int] | None, int]:
    """Return the label of each image, and the number of images.

    Without `classes`, all classes take turns.

    Args:
        classes: the classes to make, with counts; see `Classes`.
        known: the generator's classes, in the order of its labels; empty for an unconditional one.
        count: number of images, if `classes` has no counts.

    Returns:
        The labels, None for an unconditional generator, and the number of images.

    Raises:
        ValueError: a class is unknown, the generator is unconditional, or both `classes` and
            `count` give a number of images.
    """
    if count is not None and not 0 < count <= MOST_IMAGES:
        raise ValueError(f"count must be at least 1 and at most {MOST_IMAGES:,}, got {count}")
    if not known:
        if classes is not None:
            raise ValueError(
                "classes=... needs a model with classes that is told them, or guidance; pass "
                "count=..., or classifier=... with scale=..."
            )
        return None, count or DEFAULT_COUNT
    if classes is None:
        number = count or DEFAULT_COUNT
        return [i % len(known) for i in range(number)], number
    labels = _labels(classes, known)
    if count is not None:
        if len(labels) != 1:
            raise ValueError("pass classes=... with counts, or count=..., not both")
        labels = labels * count
    return labels, len(labels)


def _labels(classes: Classes, known: Sequence[str]) -> list[int]:
    if isinstance(classes, str):
        return parse_classes(classes, known)
    if isinstance(classes, int):
        return [_label(str(classes), known)]
    if isinstance(classes, Tensor):
        return _labels([int(label) for label in classes.tolist()], known)
    if isinstance(classes, Mapping):
        return [label for pair in classes.items() for label in _repeated(*pair, known)]
    return [_label(str(one), known) for one in classes]


def _repeated(name: str, count: int, known: Sequence[str]) -> list[int]:
    if not 0 < count <= MOST_IMAGES:
        raise ValueError(f"the count of {name!r} must be in 1..{MOST_IMAGES}, got {count}")
    chosen = range(len(known)) if name == "all" else [_label(name, known)]
    return [label for label in chosen for _ in range(count)]


def parse_classes(text: str, classes: Sequence[str]) -> list[int]:
    """Classes spec string -> labels.

    Args:
        text: names or numbers of classes, or `all`, each with `:count`, separated by commas:
            "sneaker:16,bag:4" or "all:8". The count is 1 by default.
        classes: names of the model's classes, in the order of its labels.

    Raises:
        ValueError: a class is unknown (names similar ones), or a count is not a positive number.
    """
    labels: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.rpartition(":") if ":" in part else (part, "", "")
        number = int(count) if count.isdecimal() else 0
        if count and not 0 < number <= MOST_IMAGES:
            raise ValueError(f"cannot read {part!r}; write a class and a count, as in bag:4")
        labels += _repeated(name, number or 1, classes)
    if not labels:
        raise ValueError("no class given; pass classes='all:8' or such as 'sneaker:16,bag:4'")
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
