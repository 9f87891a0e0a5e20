"""Job, cache folder -> (N, C, H, W) uint8, resumed after an interruption.

The cache folder is beside the sample folder, has one writer, and keeps finished batches. Its
SHA256SUMS lists each of them once it is on the disk; a batch that is not listed, or differs, is
sampled again.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.cached import Cached
from adm.data.export import write_npz
from adm.data.naming import MANIFEST
from adm.data.npz import members
from adm.files import clear, new_file, write_json
from adm.generation.blocks import whole_blocks
from adm.generation.generate import block_of
from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.hashes import SUMS, damaged_parts, read_sums, sha256, store_sums
from adm.locks import FILE as LOCK
from adm.locks import locked
from adm.notices import notice
from adm.parsed import cached_json, through_json

BATCH = re.compile(r"(\d{8,})\.npz")  # the index of its first image


@contextmanager
def cache_of(out: Path) -> Iterator[Path]:
    """Yield the locked cache folder of a folder that is to be written, and remove what is left.

    That it can be created shows, before any work, that `out` can be written. It is removed if the
    block leaves no finished batch in it.

    Raises:
        InUse: another process writes `out`.
        OSError: `out` cannot be written, or is a loop of links.
    """
    with suppress(FileNotFoundError):
        out.stat()  # refuses a loop of links
    place = out.resolve()
    cache = place.with_name(f".{place.name}.part")
    try:
        with locked(cache):
            clear(place)
            try:
                yield cache
            finally:
                if not any(cache.rglob("*.npz")):
                    empty(cache)
    finally:
        with suppress(OSError):  # it holds finished batches, or another process has it
            cache.rmdir()


def claim_cache(cache: Path, manifest: dict[str, Any]) -> None:
    """Empty a locked folder of cached samples unless its manifest is the same."""
    path = cache / MANIFEST
    if cached_json(path) == through_json(manifest):
        return
    empty(cache)
    write_json(path, manifest)


def empty(cache: Path) -> None:
    """Remove everything in a cache folder but its lock."""
    for each in cache.iterdir():
        if each.name == LOCK:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def cached_images(
    place: Path, job: Job, low_res: Tensor | None, batch_size: int, on_step: OnStep | None
) -> Tensor:
    """Sample a job, and store every batch; batches of any size that are stored are read.

    Args:
        place: the cache folder of the job.
        low_res: the images that the job starts from.
        batch_size: images of a batch, rounded up to whole blocks.
        on_step: called after every step with the number of images in the block, and with all steps
            of a stored batch, as `Cached`.

    Returns:
        (N, C, H, W) uint8.
    """
    place.mkdir(parents=True, exist_ok=True)
    stored, sums = _stored(place, job)
    size = whole_blocks(batch_size, block_of(job.generator))
    found, start = list[Tensor](), 0
    while start < job.count:
        if start in stored:
            images = stored[start]
            if on_step is not None:
                on_step(Cached(len(images) * job.generator.evaluations))
        else:
            stop = min(start + size, job.count, *(each for each in stored if each > start))
            images = _batch(job, range(start, stop), low_res, on_step)
            path = place / f"{start:08d}.npz"
            with new_file(path) as fresh:
                write_npz(fresh, {"images": images.numpy()})
            sums[path.name] = sha256(path)
            store_sums(place, sums)
        found.append(images)
        start += len(images)
    return torch.cat(found)


def _batch(job: Job, indices: range, low_res: Tensor | None, on_step: OnStep | None) -> Tensor:
    part = slice(indices.start, indices.stop)
    labels = None if job.labels is None else torch.tensor(job.labels[part])
    low = None if low_res is None else low_res[part]
    return job.generator.images(labels, indices, low, on_step)


def _stored(place: Path, job: Job) -> tuple[dict[int, Tensor], dict[str, str]]:
    """Return the intact batches by their first index, and their hashes by file name."""
    names = sorted(path.name for path in place.iterdir() if BATCH.fullmatch(path.name))
    sums: dict[str, str] = {}
    with suppress(ValueError):  # a damaged list vouches for nothing
        sums = read_sums(place) or {}
    damaged = set(damaged_parts(place, names)) if sums else set(names)
    found: dict[int, Tensor] = {}
    for name in names:
        images = None if name in damaged else _read(place / name, job, int(name[:-4]))
        if images is None:
            notice(f"{place / name} is damaged, or not listed in {SUMS}; it is sampled again")
            sums.pop(name, None)
        else:
            found[int(name[:-4])] = images
    return found, {name: digest for name, digest in sums.items() if name in names}


def _read(path: Path, job: Job, start: int) -> Tensor | None:
    """Return the images of a batch; None if they cannot be those of the job."""
    try:
        images = torch.from_numpy(members(path, ("images",), in_memory=True)["images"])
    except (ValueError, KeyError, TypeError):  # damaged, without images, or of text
        return None
    fits = images.ndim == 4 and images.shape[1:] == torch.Size(job.generator.shape)
    fits = fits and images.dtype == torch.uint8 and 0 < len(images) <= job.count - start
    return images if fits else None
