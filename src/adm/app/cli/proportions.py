"""List of labels, classes, count -> labels in the proportions of the list, one per image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray


def check_proportions(
    proportions: str, classes: str | None, known: Sequence[str] | None
) -> list[int] | None:
    """Return the number of images of each class in a list of labels.

    Args:
        proportions: path of the list.
        classes: the classes that are given otherwise, which is refused.
        known: the generator's classes; None if only the models show them, and then nothing is
            returned.

    Raises:
        ValueError: classes are given as well, or the generator has none, or not those of the list.
    """
    from adm.data.lists import sizes_in

    if classes is not None:
        raise ValueError("--classes and --proportions both choose the classes; give one of the two")
    if known is None:
        return None
    if not known:
        raise ValueError(
            "--proportions needs a model with classes that is told them, or guidance; leave it "
            "out, or add --classifier ... with --scale"
        )
    return sizes_in(proportions, known)


def labels_like(proportions: str, known: Sequence[str], count: int | None) -> "NDArray[int64]":
    """Return (count,) labels in the proportions of a list; as many as by default without a count.

    Raises:
        ValueError: as `check_proportions`, or the count is out of range.
    """
    from adm.generation.labels import DEFAULT_COUNT, in_proportion, positive

    sizes = check_proportions(proportions, None, known)
    assert sizes is not None
    return in_proportion(sizes, positive("count", DEFAULT_COUNT if count is None else count))
