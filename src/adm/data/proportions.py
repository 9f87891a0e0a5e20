"""List of labels, classes -> number of images of each class."""

from collections import Counter
from collections.abc import Sequence

from adm.data.labels import pairs_of
from adm.data.lists import Label
from adm.shown import shown, shown_path


def sizes_in(labels: str, classes: Sequence[str]) -> list[int]:
    """Count the images of each class in a list of labels.

    Args:
        labels: path of the list, in any of its forms.
        classes: names of the classes in the order of their numbers. The list has names or numbers.

    Raises:
        ValueError: it is no list, is empty, or has another class.
    """
    counts = Counter(label for _, label in pairs_of(labels, "this folder", lambda name: None))
    sizes = [0] * len(classes)
    known: dict[Label, int] = {name: number for number, name in enumerate(classes)}
    for label, size in counts.items():
        number = label if isinstance(label, int) else known.get(label, -1)
        if not 0 <= number < len(classes):
            raise ValueError(
                f"{shown_path(labels)} has the class {shown(label)}, which is not one of the "
                "model's; give the list that it was trained with"
            )
        sizes[number] += size
    if not counts:
        raise ValueError(f"{shown_path(labels)} is empty; give a list with images of every class")
    return sizes
