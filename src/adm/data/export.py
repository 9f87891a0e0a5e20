"""uint8 images, labels, seeds -> folder of PNG files, named by class and seed, and one .npz."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data.naming import ARCHIVE
from adm.data.pixels import mode_of, to_picture
from adm.shown import count_of
from adm.store.arrays import Pieces, write_npz
from adm.store.files import fsync, new_folder

UNLABELLED = "image"
LONGEST_NAME = 40
TOGETHER = 64  # images that are encoded at a time


# Eight parameters: the first five are what the files hold, the others independent options.
def save_images(
    out: Path,
    images: Tensor,
    labels: Tensor | None,
    classes: Sequence[str],
    seeds: int | Sequence[int],
    *,
    indices: Sequence[int] | None = None,
    notes: Sequence[str] | None = None,
    replace: bool = False,
) -> list[Path]:
    """Write a folder of PNG files, such as `sneaker_seed0_000017.png`, and `samples.npz`.

    The .npz has the released layout: `arr_0` uint8 (N, H, W, C) and, if there are labels, `arr_1`
    int64 (N,). The same images give the same bytes, and the folder is written atomically.

    Args:
        out: the folder to create; absent or empty.
        images: (N, C, H, W) uint8 with 1, 3 or 4 channels.
        labels: (N,) integers, or None, for files named `image_...`.
        classes: the name of each label; file names contain it with unsafe characters replaced.
        seeds: one for all images, or one for each.
        indices: global number of each image; 0..N - 1 by default.
        notes: a word for each image, such as `scale4`, that follows the class in its file name.
        replace: replace an existing folder once the new one is complete.

    Returns:
        The paths of the PNG files, in the order of the images.

    Raises:
        ValueError: images, labels, seeds or indices that do not fit each other.
        FileExistsError: `out` is a file, or contains files and `replace` is not set.
    """
    _check_images(images)
    names = file_names(len(images), labels, classes, seeds, indices, notes)
    with new_folder(out, replace) as folder:
        write_images(folder, images, labels, names)
    return [out / name for name in names]


def write_images(folder: Path, images: Tensor, labels: Tensor | None, names: Sequence[str]) -> None:
    """Write the files of `save_images` into a folder, which may hold others.

    Args:
        images, labels: see `save_images`.
        names: of the PNG files, as `file_names` gives them.

    Raises:
        ValueError: images of another type or shape.
    """
    _check_images(images)
    write_parts(folder, tuple(images.shape), images.split(TOGETHER), labels, names)


def write_parts(
    folder: Path,
    shape: tuple[int, ...],
    parts: Iterable[Tensor],
    labels: Tensor | None,
    names: Sequence[str] | None,
) -> None:
    """Write PNG files and `samples.npz` part by part, so that one part is in memory at a time.

    Args:
        shape: (N, C, H, W) of all images.
        parts: (B, C, H, W) uint8 each, together N images.
        labels: see `save_images`.
        names: of the PNG files; None for no such files, because PNG cannot hold the images.
    """
    folder.mkdir(exist_ok=True)
    count, channels, height, width = shape
    layout = (count, height, width, channels)
    with ThreadPoolExecutor() as pool:  # which encode at the same time

        def pixels() -> Iterator[np.ndarray]:
            start = 0
            for part in parts:
                part = part.cpu()
                if names is not None:
                    paths = [folder / name for name in names[start : start + len(part)]]
                    for _ in pool.map(_save_png, part, paths):  # raises what one of them raises
                        pass
                start += len(part)
                yield part.permute(0, 2, 3, 1).numpy()

        entries: dict[str, np.ndarray | Pieces] = {
            "arr_0": Pieces(np.dtype("u1"), layout, pixels())
        }
        if labels is not None:
            entries["arr_1"] = labels.cpu().numpy().astype(np.int64)
        write_npz(folder / ARCHIVE, entries)
    fsync(folder / ARCHIVE)


def _save_png(image: Tensor, path: Path) -> None:
    to_picture(image).save(path, "png")


def safe_names(classes: Sequence[str]) -> list[str]:
    """Class names reduced to letters, digits, `_` and `-`, safe to use in file names.

    A name with no such character becomes `class3`, say; names that become equal get their label as
    a suffix.
    """
    plain = [re.sub(r"[^\w-]+", "-", name).strip("-_")[:LONGEST_NAME] for name in classes]
    plain = [name or f"class{label}" for label, name in enumerate(plain)]
    counts = Counter(name.casefold() for name in plain)
    return [
        f"{name}-{label}" if counts[name.casefold()] > 1 else name
        for label, name in enumerate(plain)
    ]


def _check_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or not images.numel():
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)}, expected uint8 (N, C, H, W), N > 0; "
            "convert floats with adm.images.to_uint8"
        )
    mode_of(images.shape[1])


def file_names(
    count: int,
    labels: Tensor | None,
    classes: Sequence[str],
    seeds: int | Sequence[int],
    indices: Sequence[int] | None = None,
    notes: Sequence[str] | None = None,
) -> list[str]:
    """Return the name of the PNG file of each image; see `save_images`.

    Raises:
        ValueError: labels, seeds, indices or notes that do not fit each other.
    """
    seeds = [seeds] * count if isinstance(seeds, int) else list(seeds)
    numbers = list(range(count)) if indices is None else list(indices)
    kinds = [UNLABELLED] * count if labels is None else _kinds(labels, classes)
    counts = [len(kinds), len(seeds), len(numbers), count if notes is None else len(notes)]
    if counts != [count] * 4:
        raise ValueError(
            f"got {count_of(count, 'image')} with {count_of(counts[0], 'label')}, "
            f"{count_of(counts[1], 'seed')}, {count_of(counts[2], 'index', 'indices')} and "
            f"{count_of(counts[3], 'note')}; give as many of each as images"
        )
    if notes is not None:
        words = safe_names(sorted(set(notes)))
        named = dict(zip(sorted(set(notes)), words, strict=True))
        kinds = [f"{kind}_{named[note]}" for kind, note in zip(kinds, notes, strict=True)]
    if len(set(zip(kinds, seeds, numbers, strict=True))) != count:
        raise ValueError("two images would get the same file name; give them different indices")
    stems = zip(kinds, seeds, numbers, strict=True)
    return [f"{kind}_seed{seed}_{number:06d}.png" for kind, seed, number in stems]


def _kinds(labels: Tensor, classes: Sequence[str]) -> list[str]:
    names = safe_names(classes)
    flat = labels.reshape(-1).tolist()
    wrong = [label for label in flat if not 0 <= label < len(names)]
    if wrong:
        raise ValueError(
            f"label {wrong[0]} is outside 0..{len(names) - 1}; give the classes of the model, or "
            "labels=None if it has none"
        )
    return [names[label] for label in flat]
