"""Images, labels, seeds -> folder of PNG files, named by class and seed, and one .npz."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adm.data.pixels import to_picture
from adm.images import UINT8, Range
from adm.store.arrays import Pieces, write_npz
from adm.store.files import fsync
from adm.store.samples import ARCHIVE

UNLABELLED = "image"
LONGEST_NAME = 40
TOGETHER = 64  # images that are encoded at a time


def write_parts(
    folder: Path,
    shape: tuple[int, ...],
    parts: Iterable[Tensor],
    labels: Tensor | None,
    names: Sequence[str] | None,
    stored: Range = UINT8,
) -> None:
    """Write PNG files and `samples.npz`, with few images in memory at a time.

    The .npz has the released layout: `arr_0` (N, H, W, C) and, if there are labels, `arr_1`
    int64 (N,). The same images give the same bytes.

    Args:
        shape: (N, C, H, W) of all images.
        parts: (B, C, H, W) each, together N images.
        labels: (N,) integers.
        names: of the PNG files; None for no such files, because PNG cannot store the images.
        stored: range of the values of `arr_0` and of the PNG files.
    """
    folder.mkdir(exist_ok=True)
    count, channels, height, width = shape
    layout = (count, height, width, channels)
    with ThreadPoolExecutor() as pool:  # which encode at the same time

        def pixels() -> Iterator[np.ndarray]:
            start, images = 0, chain.from_iterable(parts)
            while some := [image.cpu() for image in islice(images, TOGETHER)]:
                if names is not None:
                    files = [folder / name for name in names[start : start + len(some)]]
                    for _ in pool.map(partial(_save_png, stored), some, files):  # raises errors
                        pass
                start += len(some)
                yield stored.write(torch.stack(some).permute(0, 2, 3, 1))

        entries: dict[str, np.ndarray | Pieces] = {"arr_0": Pieces(stored.dtype, layout, pixels())}
        if labels is not None:
            entries["arr_1"] = labels.cpu().numpy().astype(np.int64)
        write_npz(folder / ARCHIVE, entries)
    fsync(folder / ARCHIVE)


def _save_png(stored: Range, image: Tensor, path: Path) -> None:
    picture = to_picture(image) if stored == UINT8 else Image.fromarray(stored.write(image[0]))
    picture.save(path, "png")


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


def file_names(count: int, labels: Tensor | None, classes: Sequence[str], seed: int) -> list[str]:
    """Return the names of PNG files, such as `sneaker_seed0_000017.png`.

    Args:
        labels: (N,) integers, or None, for files named `image_...`.
        classes: the name of each label.
    """
    if labels is None:
        kinds = [UNLABELLED] * count
    else:
        words = safe_names(classes)
        kinds = [words[label] for label in labels.tolist()]
    return [f"{kind}_seed{seed}_{number:06d}.png" for number, kind in enumerate(kinds)]
