"""Job -> sample folder, (N, C, H, W) uint8; sample folder -> images, damaged parts.

A sample folder has a SHA256SUMS of all files in it, and so has its `base`. Images are written and
read some at a time, so that memory use does not grow with their number.
"""

from pathlib import Path

import torch
from torch import Tensor

from adm.app.notices import notice
from adm.data.naming import ANIMATION, ARCHIVE, BASE, MANIFEST, SHEET
from adm.differences import first_difference
from adm.generation.animation import animation, check_animated
from adm.generation.cache import Caches, cache_path, caches_of, empty
from adm.generation.generator import OnStep
from adm.generation.job import Chain, Images, Job, chained
from adm.generation.manifest import read_manifest
from adm.generation.writing import places, write, write_folder
from adm.processes import Devices
from adm.store.arrays import load_arrays
from adm.store.files import write_bytes
from adm.store.hashes import SUMS, damaged_parts, read_sums, seal, sha256, store_sums
from adm.store.parsed import through_json


# Seven parameters: the keyword-only ones are independent and have defaults.
def sample_into(
    out: Path,
    job: Job,
    *,
    batch_size: int = 64,
    on_step: OnStep | None = None,
    overwrite: bool = False,
    animate: bool = False,
    devices: Devices | None = None,
) -> Tensor:
    """Sample into a sample folder, which is renamed to `out` once it is complete.

    Finished batches are cached beside it until then, so that the same call resumes after an
    interruption, and so that batches of `sample_shard` are used. If `out` holds the samples of this
    job, nothing is sampled, and only pictures that are missing or damaged are made. If the job
    starts from the images of another job, those are stored in `base`. Images with a number of
    channels other than 1, 3 or 4 are stored in the archive only.

    Args:
        batch_size: images that are sampled between two saves, rounded up to whole blocks; affects
            no image.
        on_step: called after every step with the number of images in the block, with all steps of
            batches that an earlier call finished, as `Cached`, and with those of other ranks.
        overwrite: whether to sample again and replace an existing sample folder.
        animate: whether to write an animation of some images as well; see `animation`.
        devices: the ranks that share the images, all of which must call with one job and one
            folder, on a disk that all of them see; by default a single process.

    Returns:
        (N, C, H, W) uint8, mapped from the archive: what is read of it is loaded.

    Raises:
        FileExistsError: `out` is a file, or a folder that is not empty and holds no samples, or
            without `overwrite` those of another job or damaged ones.
        InUse: another process samples into `out`, or a shard of it.
        ValueError: `out` is damaged, shards are of another job, or `animate` with a generator that
            has no steps to show.
        FloatingPointError: sampling gave NaN or infinity.
    """
    if animate:
        check_animated(job)
    devices = devices or Devices(torch.device("cpu"))
    with caches_of(out, devices) as caches:
        devices.agree("model, settings or number of images", job.fingerprint)
        if not devices.once(lambda: _is_complete(out, job, overwrite, animate, on_step)):
            caches.claim(job.manifest())
            chain = sampled(job, caches, batch_size, on_step)

            def finish() -> None:
                write_folder(out, chain, overwrite, animation(chain, on_step) if animate else None)

            devices.once(finish)
        caches.empty(job.manifest())
        return devices.each(lambda: _mapped(out, job))


def sampled(job: Job, caches: Caches, batch_size: int, on_step: OnStep | None) -> Chain:
    """Sample what the caches lack of a job and of those that it starts from; see `Caches`."""

    def each(job: Job, low_res: Images | None, depth: int) -> Images:
        return caches.sampled(job, low_res, depth, batch_size, on_step)

    return chained(job, each)


def _is_complete(
    out: Path, job: Job, overwrite: bool, animate: bool, on_step: OnStep | None
) -> bool:
    """Return whether a folder holds the samples of a job; make its pictures that are missing."""
    if overwrite:
        check_free(out, overwrite)
        return False
    if not holds(out, job):
        return False
    if found := missing(out, job, animate):
        _mend(out, job, found, cache_path(out), on_step)
    for place in reversed(places(job)):
        if read_sums(out / place) is None:  # a folder of an earlier version
            seal(out / place)
    return True


def holds(out: Path, job: Job) -> bool:
    """Return whether a folder holds the samples of a job; False if it is empty or absent.

    Raises:
        FileExistsError: it holds other samples, whose first difference is named, damaged ones, or
            other files.
        ValueError: its manifest or SHA256SUMS is damaged.
    """
    held = read_manifest(out)
    if held is None:
        check_free(out)
        return False
    asked = through_json(job.manifest())
    difference = first_difference(held, asked) or _damaged(out, job)
    if difference is not None:
        raise FileExistsError(
            f"{out} holds other samples: {difference}; choose another folder, or pass "
            "overwrite=True to replace them"
        )
    return True


def _damaged(out: Path, job: Job) -> str | None:
    """Say which file is absent or damaged that cannot be made from the others."""
    names = [place + name for place in places(job) for name in (ARCHIVE, MANIFEST)]
    for name in names:
        if not (out / name).is_file():
            return f"{name} is missing there"
    try:
        damaged = damaged_parts(out, names)
    except ValueError as error:
        return str(error)
    return f"{damaged[0]} is damaged there, by its hash in {SUMS}" if damaged else None


def check(folder: Path) -> None:
    """Raise ValueError if SHA256SUMS shows that images or manifest of a folder are damaged.

    A folder without a SHA256SUMS, such as one of an earlier version, passes.
    """
    try:
        listed = read_sums(folder) or {}
        damaged = damaged_parts(folder, {ARCHIVE, MANIFEST} & listed.keys())
    except ValueError as error:
        raise ValueError(f"{error}; sample again, or remove {SUMS} to use them as is") from None
    if damaged:
        raise ValueError(
            f"{folder / damaged[0]} is not as it was written, by {SUMS} beside it; sample again"
        )


def check_free(out: Path, overwrite: bool = False) -> None:
    """Raise FileExistsError unless `out` is absent, empty, or a sample folder to overwrite."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{out} already exists and is not empty; choose another folder")
    if not (out / MANIFEST).is_file():
        raise FileExistsError(
            f"{out} is not empty and holds no {MANIFEST}, and only a sample folder is replaced; "
            "choose another folder"
        )


def missing(out: Path, job: Job, animate: bool) -> list[str]:
    """Return the pictures of a job's finished sample folder that are to be made, relative to it.

    Those are all that are missing, the animation only if it is wanted, and all that are damaged.
    """
    film = {ANIMATION} if animate or (out / ANIMATION).exists() else set()
    pictures = [*(place + SHEET for place in places(job)), *film]
    sums = read_sums(out)
    if sums is None:  # a folder of an earlier version
        return [name for name in pictures if not (out / name).is_file()]
    kept = {place + name for place in places(job) for name in (ARCHIVE, MANIFEST)}
    ours = dict.fromkeys([*pictures, *sums])
    return damaged_parts(out, [name for name in ours if name not in kept | ({ANIMATION} - film)])


def images_of(folder: Path, job: Job | None = None) -> Tensor:
    """Return the images of a sample folder, (N, C, H, W) uint8, in memory.

    Args:
        job: whose images they are, if that is known.

    Raises:
        ValueError: the archive is damaged.
    """
    return _mapped(folder, job).contiguous().clone()


def _mapped(folder: Path, job: Job | None = None) -> Tensor:
    """Return the images as `images_of`, mapped from the archive."""
    try:
        found = torch.from_numpy(load_arrays(folder / ARCHIVE, ("arr_0",))["arr_0"])
        if found.ndim != 4 or found.dtype != torch.uint8:
            raise ValueError(f"its images are {found.dtype} of shape {tuple(found.shape)}")
        images = found.permute(0, 3, 1, 2)
        if job is not None and tuple(images.shape) != (job.count, *job.generator.shape):
            raise ValueError(f"its images are of shape {tuple(images.shape)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / ARCHIVE} is damaged ({error}); pass overwrite=True to sample again"
        ) from None
    return images


def _mend(out: Path, job: Job, names: list[str], cache: Path, on_step: OnStep | None) -> None:
    """Make pictures of a finished sample folder from its archives; leave all other files."""
    if damaged := [name for name in names if (out / name).exists()]:
        more = f" and {len(damaged) - 1} more" if damaged[1:] else ""
        notice(f"{out}: {damaged[0]}{more} differed from {SUMS}; made again from {ARCHIVE}")
    empty(cache)
    chain = chained(job, lambda job, low, depth: _mapped(out.joinpath(*[BASE] * depth), job))
    fresh = cache / "mended"
    try:
        write(fresh, chain, animation(chain, on_step) if ANIMATION in names else None)
        for name in names:
            if (out / name).is_symlink():  # else the file that it leads to would be written
                (out / name).unlink()
            write_bytes(out / name, (fresh / name).read_bytes())
    finally:
        empty(cache)
    for place in reversed(places(job)):
        if sums := read_sums(out / place):  # a folder of an earlier version has none
            new = [name.removeprefix(place) for name in names if name.startswith(place)]
            new += [name for name in sums if name.endswith(f"/{SUMS}")]
            sums |= {name: sha256(out / place / name) for name in new}
            there = {name: each for name, each in sums.items() if (out / place / name).is_file()}
            store_sums(out / place, there)
