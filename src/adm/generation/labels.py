"""Classes, names of classes, count -> labels, one per image."""

import operator
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray

from adm.shown import shown

if TYPE_CHECKING:  # so that classes are checked before torch is loaded
    from torch import Tensor

MOST_IMAGES = 10_000_000
MOST_DIGITS = 18  # of a number in text
LONGEST_NAME = 200  # characters that are compared with the names of classes
DEFAULT_COUNT = 16
NO_CLASS = "no class given; pass classes='all:8' or such as 'sneaker:16,bag:4'"

# "sneaker:16,bag:4", "all:8"; {"sneaker": 16}; names or numbers, one per image; (N,) labels.
Classes: TypeAlias = Union[
    str,
    int,
    Mapping[str, int],
    Mapping[int, int],
    Mapping[str | int, int],
    Sequence[str | int],
    "Tensor",
    NDArray[Any],
]


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
    if count is not None:
        count = positive("count", count)
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


def in_proportion(sizes: Sequence[int], count: int) -> NDArray[np.int64]:
    """Return labels of images whose classes have the proportions of these sizes, evenly mixed.

    A class gets its share of the images, rounded down, and the rest goes one each to the classes
    with the largest remainders.

    Args:
        sizes: number of images of each class, in the order of the labels; at least one is not 0.
        count: number of images.

    Returns:
        (count,) int64.
    """
    shares = np.asarray(sizes, np.int64) * count
    total = sum(sizes)
    counts, lost = shares // total, shares % total
    counts[np.argsort(-lost, kind="stable")[: count - counts.sum()]] += 1
    places = np.concatenate([(np.arange(number) + 0.5) / max(number, 1) for number in counts])
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(places, kind="stable")]


def positive(what: str, value: object) -> int:
    """Return a number of images, an int of any library.

    Raises:
        ValueError: it is not a whole number, or out of range; names `what`.
    """
    number = _whole(value)
    if number is None:
        raise ValueError(f"{what} must be a whole number, got {shown(value)}")
    if not 0 < number <= MOST_IMAGES:
        raise ValueError(
            f"{what} must be at least 1 and at most {MOST_IMAGES:,}, got {shown(number)}"
        )
    return number


def _whole(value: object) -> int | None:
    """Return an int of any library as an int; None for anything else, a bool included."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:  # a float in a tensor, or several numbers
            return None
    return None


def _labels(classes: Classes, known: Sequence[str]) -> list[int]:
    if isinstance(classes, str):
        return parse_classes(classes, known)
    if isinstance(classes, Mapping):
        found = _repeated(list(classes.items()), known)
    elif _is_array(classes) and classes.ndim:
        _check_total(len(classes))
        found = [_in_range(label, known) for label in classes.tolist()]
    elif isinstance(classes, Iterable) and not (_is_array(classes) or isinstance(classes, bytes)):
        if isinstance(classes, Set):
            raise ValueError(f"a set has no order, got classes={shown(classes)}; pass a list")
        found = [_one(each, known) for each in islice(classes, MOST_IMAGES + 1)]
        _check_total(len(found))
    else:
        found = [_one(classes, known)]
    if not found:
        raise ValueError(NO_CLASS)
    return found


def _is_array(value: object) -> "TypeGuard[Tensor | NDArray[Any]]":
    """Whether a value is an array of NumPy or torch, which is loaded if a tensor exists."""
    torch = sys.modules.get("torch")
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def _one(value: object, known: Sequence[str]) -> int:
    """Return the label of a class by its name or number."""
    number = _whole(value)
    if number is None and not isinstance(value, str):
        raise ValueError(
            f"a class must be a name or a whole number, got {shown(value)}; pass classes='all:8', "
            "{'sneaker': 8, 'bag': 4}, or a list of names or labels"
        )
    return _label(str(value if number is None else number), known)


def _in_range(value: object, known: Sequence[str]) -> int:
    """Return a label of an array, which is a number even if classes are named by numbers."""
    number = _whole(value)
    if number is None or not 0 <= number < len(known):
        raise ValueError(
            f"labels must be (N,) whole numbers in 0..{len(known) - 1}, one per image, got "
            f"{shown(value)}; see the model's classes"
        )
    return number


def _repeated(pairs: Sequence[tuple[str | int, int]], known: Sequence[str]) -> list[int]:
    """Return labels for names or numbers of classes, or "all", with counts."""
    chosen = [
        (_chosen(name, known), positive(f"the count of {shown(name)}", n)) for name, n in pairs
    ]
    _check_total(sum(len(labels) * number for labels, number in chosen))
    return [label for labels, number in chosen for label in labels for _ in range(number)]


def _chosen(name: str | int, known: Sequence[str]) -> Sequence[int]:
    every = isinstance(name, str) and name.casefold() == "all"
    return range(len(known)) if every else [_one(name, known)]


def _check_total(number: int) -> None:
    """Raise ValueError for more images than one call makes, before a list of them exists."""
    if number > MOST_IMAGES:
        raise ValueError(f"classes are at most {MOST_IMAGES:,} images in one call; give fewer")


def parse_classes(text: str, classes: Sequence[str]) -> list[int]:
    """Classes spec string -> labels.

    Args:
        text: names or numbers of classes, or `all`, each with `:count`, separated by commas:
            "sneaker:16,bag:4" or "all:8". The count is 1 by default.
        classes: names of the model's classes, in the order of its labels.

    Raises:
        ValueError: a class is unknown (names similar ones), or a count is not a positive number.
    """
    pairs: list[tuple[str, int]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.rpartition(":") if ":" in part else (part, "", "")
        name, count = name.strip(), count.strip()
        number = int(count) if count.isdecimal() and len(count) <= MOST_DIGITS else 0
        if count and not 0 < number <= MOST_IMAGES:
            raise ValueError(f"cannot read {shown(part)}; write a class and a count, as in bag:4")
        pairs.append((name, number or 1))
    if not pairs:
        raise ValueError(NO_CLASS)
    return _repeated(pairs, classes)


def _label(name: str, classes: Sequence[str]) -> int:
    folded = [c.casefold() for c in classes]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    if name.isdecimal() and len(name) <= MOST_DIGITS and int(name) < len(classes):
        return int(name)
    near = get_close_matches(name[:LONGEST_NAME].casefold(), folded, n=3, cutoff=0.5)
    hint = " or ".join(near) if near else ", ".join(list(classes)[:20])
    raise ValueError(f"unknown class {shown(name)}; did you mean {hint}?")
