"""List of labels, classes, count -> labels in the proportions of the list, one per image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adm.spec import SettingError

if TYPE_CHECKING:  # so that --help does not load numpy
    from numpy import int64
    from numpy.typing import NDArray


def labels_like(
    proportions: str, classes: str | None, known: Sequence[str], count: int | None
) -> "NDArray[int64]":
    """Return (count,) labels in the proportions of a list; as many as by default without a count.

    Args:
        proportions: path of the list.
        classes: the classes that are given otherwise, which is refused.
        known: the generator's classes.

    Raises:
        SettingError: classes are given as well, the generator has none, or the count is out of
            range.
        ValueError: the list has other classes.
    """
    from adm.data.lists import sizes_in
    from adm.generation.labels import DEFAULT_COUNT, in_proportion, positive

    if classes is not None:
        raise SettingError("proportions", "left out with {classes}: both choose the classes")
    if not known:
        raise SettingError(
            "proportions",
            "left out with a model that is told no classes",
            cure="add {classifier} with {scale} to guide to classes",
        )
    number = positive("count", DEFAULT_COUNT if count is None else count)
    return in_proportion(sizes_in(proportions, known), number)
