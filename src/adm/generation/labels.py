"""Classes, names of classes, count -> labels, one per image."""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from itertools import islice
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adm.data.lists import sizes_in
from adm.limits import MOST_IMAGES
from adm.shown import shown
from adm.spec import SettingError, literal, out_of_range

MOST_DIGITS = 18  # of a number in text
LONGEST_NAME = 200  # characters that are compared with the names of classes
DEFAULT_COUNT = 16
ARRAYS = (np.ndarray, Tensor)
EXAMPLES = "'all:8', 'sneaker:16,bag:4'"

# "sneaker:16,bag:4", "all:8"; {"sneaker": 16}; names or numbers, one per image; (N,) labels.
Classes: TypeAlias = (
    str
    | int
    | Mapping[str, int]
    | Mapping[int, int]
    | Mapping[str | int, int]
    | Sequence[str | int]
    | Tensor
    | NDArray[Any]
)


def labels_of(
    classes: Classes | None, known: Sequence[str], count: int | None = None
) -> tuple[list[int] | None, int]:
    """Return the label of each image, and the number of images.

    Without `classes`, all classes take turns.

    Args:
        classes: the classes to generate, with counts; see `Classes`.
        known: the generator's classes, in the order of its labels; empty for an unconditional one.
        count: number of images, if `classes` has no counts.

    Returns:
        The labels, None for an unconditional generator, and the number of images.

    Raises:
        SettingError: a class is unknown, the generator is unconditional, or both `classes` and
            `count` give a number of images.
    """
    if count is not None:
        count = positive("count", count)
    if not known:
        if classes is not None:
            raise SettingError(
                "classes",
                "sampling is unconditional; leave {} out and give {count}, or guide to them with "
                "{classifier} and {scale}",
            )
        return None, count or DEFAULT_COUNT
    if classes is None:
        number = count or DEFAULT_COUNT
        return [i % len(known) for i in range(number)], number
    labels = _labels(classes, known)
    if count is not None:
        if len(labels) != 1:
            raise SettingError("count", "{classes} says how many; leave {} out")
        labels = labels * count
    return labels, len(labels)


def labels_like(
    proportions: str, classes: Classes | None, known: Sequence[str], count: int | None
) -> list[int]:
    """Return labels in the proportions of a list of labels; `DEFAULT_COUNT` without a count.

    Args:
        proportions: path of the list.
        classes: None; the classes that a list replaces are refused.
        known: the generator's classes.

    Raises:
        SettingError: classes are given as well, the generator has none, or the count is out of
            range.
        ValueError: the list has other classes.
    """
    if classes is not None:
        raise SettingError("proportions", "{classes} and {} both choose the classes; give one")
    if not known:
        raise SettingError(
            "proportions",
            "{} needs a model with classes; {classifier} with {scale} guides to classes",
        )
    number = positive("count", DEFAULT_COUNT if count is None else count)
    return in_proportion(sizes_in(proportions, known), number).tolist()


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


def positive(field: str, value: object) -> int:
    """Return a number of images, an int of any library.

    Args:
        field: name of the argument.

    Raises:
        SettingError: it is not a whole number, or out of range.
    """
    number = _whole(value)
    if number is None or not 0 < number <= MOST_IMAGES:
        raise out_of_range(field, f"a whole number from 1 to {MOST_IMAGES:,}", value)
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
    if isinstance(classes, ARRAYS) and classes.ndim:
        _check_total(len(classes))
        labels = [_in_range(label, known) for label in classes.tolist()]
    else:
        chosen = [
            (_chosen(name, known), positive("classes", number)) for name, number in _pairs(classes)
        ]
        _check_total(sum(len(labels) * number for labels, number in chosen))
        labels = [label for labels, number in chosen for label in labels for _ in range(number)]
    if not labels:
        raise SettingError("classes", f"{{}} names no class; give such as {EXAMPLES}")
    return labels


def _pairs(classes: Classes) -> Iterable[tuple[Any, int]]:
    """Return names or numbers of classes, each with its count."""
    if isinstance(classes, str):
        return _parsed(classes)
    if isinstance(classes, Mapping):
        return classes.items()
    if isinstance(classes, Set):
        raise SettingError("classes", "{} is a set, which has no order; give a list")
    if isinstance(classes, Iterable) and not isinstance(classes, (*ARRAYS, bytes)):
        return [(each, 1) for each in islice(classes, MOST_IMAGES + 1)]
    return [(classes, 1)]


def _parsed(text: str) -> Iterator[tuple[str, int]]:
    """Yield those of "sneaker:16,bag:4"; a count is 1 by default."""
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.rpartition(":") if ":" in part else (part, "", "1")
        count = count.strip() or "1"
        if not count.isdecimal() or not count.strip("0"):
            got = literal(shown(part))
            raise SettingError("classes", f"{got} is no class with a count, as bag:4 is")
        number = int(count) if len(count) <= MOST_DIGITS else MOST_IMAGES + 1
        _check_total(number)
        yield name.strip(), number


def _chosen(name: object, known: Sequence[str]) -> Sequence[int]:
    is_all = isinstance(name, str) and name.casefold() == "all"
    return range(len(known)) if is_all else [label_of(name, known)]


def label_of(value: object, known: Sequence[str], field: str = "classes") -> int:
    """Return the label of a class by its name or number; `field` is that of a refusal."""
    number = _whole(value)
    if number is None and not isinstance(value, str):
        raise out_of_range(
            field,
            f"names or whole numbers, as in {EXAMPLES}, a dictionary with counts, or a list of one "
            "for each image",
            value,
        )
    name = str(value if number is None else number)
    folded = [each.casefold() for each in known]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    if name.isdecimal() and len(name) <= MOST_DIGITS and int(name) < len(known):
        return int(name)
    near = get_close_matches(name[:LONGEST_NAME].casefold(), folded, n=3, cutoff=0.5)
    hint = " or ".join(near) if near else ", ".join(list(known)[:20])
    cure = f"did you mean {literal(hint)}?" if hint else "the model has none"
    raise SettingError(field, f"there is no class {literal(shown(name))}; {cure}")


def _in_range(value: object, known: Sequence[str]) -> int:
    """Return a label of an array, which is a number even if classes are named by numbers."""
    number = _whole(value)
    if number is None or not 0 <= number < len(known):
        raise out_of_range(
            "classes", f"(N,) whole numbers in 0..{len(known) - 1}, one per image", value
        )
    return number


def _check_total(number: int) -> None:
    """Raise SettingError for more images than one call makes, before a list of them exists."""
    if number > MOST_IMAGES:
        raise out_of_range("classes", f"at most {MOST_IMAGES:,} images in one call")
