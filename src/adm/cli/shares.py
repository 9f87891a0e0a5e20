"""List of labels, classes, count -> labels in the proportions of the list, one per image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray


def check(proportions: str, classes: str | None, known: Sequence[str] | None) -> None:
    """Raise ValueError unless images can have the classes of a list of labels.

    Args:
        proportions: path of the list.
        classes: the classes that are given otherwise, which is refused.
        known: the generator's classes; None if only the models show them.
    """
    from adm.data.proportions import sizes_in

    if classes is not None:
        raise ValueError("--classes and --proportions both choose the classes; give one of the two")
    if known is not None and not known:
        raise ValueError(
            "--proportions needs a model with classes that is told them, or guidance; leave it "
            "out, or add --classifier ... with --scale"
        )
    if known is not None:
        sizes_in(proportions, known)


def labels_like(proportions: str, known: Sequence[str], count: int | None) -> "NDArray[int64]":
    """Return (count,) labels in the proportions of a list; as many as by default without one.

    Raises:
        ValueError: as `check`, or the count is out of range.
    """
    from adm.data.proportions import sizes_in
    from adm.generation.labels import DEFAULT_COUNT, in_proportion, positive

    check(proportions, None, known)
    number = positive("count", DEFAULT_COUNT if count is None else count)
    return in_proportion(sizes_in(proportions, known), number)
