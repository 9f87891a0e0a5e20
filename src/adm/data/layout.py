"""Names of image files, split, labelling rule -> Labelled: the images of the split."""

from collections.abc import Sequence

from adm.data.labels import STYLEGAN, Inside, Labelled, labelled, restricted
from adm.data.lists import LISTS
from adm.data.naming import EXTENSIONS
from adm.data.source import NoSplit

# Names of folders and archives of each split; the first that exists is used.
SPLITS = {"train": ("train",), "test": ("test", "val", "valid", "validation", "eval", "dev")}


def select_split(
    names: Sequence[str], split: str, rule: str | None, title: str, place: str, inside: Inside
) -> Labelled:
    """The images of a split and their labels; for the arguments see `labels.labelled`.

    If all top-level folders are splits, the classes are within them and have the same numbers in
    all. A list of labels beside the splits names files by paths that start with the split's folder;
    a list in a split, by paths within it.

    Raises:
        ValueError: no images, no such split, or labels that do not fit.
    """
    chosen = _split_folder(names, split, place)
    if chosen is None:
        _check_any(names, place)
        return labelled(names, rule, title, place, inside)
    own = [index for index, name in enumerate(names) if name.startswith(f"{chosen}/")]
    _check_any(own, f"{place}/{chosen}")

    def within(name: str) -> bytes | None:
        return inside(f"{chosen}/{name}")

    list_ = STYLEGAN if rule is None else rule
    if list_.endswith(LISTS) and within(list_) is not None:
        bare = [names[index].partition("/")[2] for index in own]
        found = labelled(bare, rule, title, f"{place}/{chosen}", within)
        return found._replace(used=[own[index] for index in found.used])
    all_ = [index for index, name in enumerate(names) if "/" in name]
    listed = list_.endswith(LISTS) and (rule is not None or inside(list_) is not None)
    texts = [names[index] if listed else names[index].partition("/")[2] for index in all_]
    found = labelled(texts, rule, title, place, inside)
    found = restricted(found._replace(used=[all_[index] for index in found.used]), set(own))
    if not found.used:
        raise NoSplit(
            f"{place}: the list of labels has no image of the {split} split; add those in {chosen}/"
        )
    return found


def _split_folder(names: Sequence[str], split: str, place: str) -> str | None:
    """The folder of a split; None if there are no split folders and `split` is train."""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    known = {name for folders in SPLITS.values() for name in folders}
    if not tops or not tops <= known:
        if split == "train":
            return None
        tops = set()
    for folder in SPLITS[split]:
        if folder in tops:
            return folder
    raise NoSplit(
        f"{place} has no {split} split: no sub-folder {', '.join(SPLITS[split])}; "
        "add one with the classes in it, or give the folder of those images"
    )


def _check_any(images: Sequence[object], place: str) -> None:
    if not images:
        raise ValueError(
            f"{place} has no images: no file in it or its sub-folders has one of the extensions "
            f"{', '.join(EXTENSIONS)}; give a folder with such files, one sub-folder per class"
        )
