"""Job -> sample folder, (N, C, H, W) uint8; sample folder -> images, damaged parts.

A sample folder has a SHA256SUMS of all files in it, and so has its `base`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.data.export import file_names, write_images, write_npz
from adm.data.naming import ANIMATION, ARCHIVE, MANIFEST, SHEET
from adm.data.npz import members
from adm.data.pixels import MODES
from adm.differences import first_difference
from adm.files import new_folder, write_bytes, write_json
from adm.generation.animation import animation, check_animated
from adm.generation.cache import cache_of, cached_images, claim_cache, empty
from adm.generation.generator import OnStep
from adm.generation.job import Chain, Job, chained
from adm.generation.manifest import read_manifest
from adm.generation.sheet import contact_sheet
from adm.hashes import SUMS, damaged_parts, read_sums, seal, sha256, store_sums
from adm.notices import notice
from adm.parsed import through_json
from adm.pictures import png

BASE = "base"  # folder of the sampled images that an upsampler started from


def sample_into(
    out: Path,
    job: Job,
    *,
    batch_size: int = 64,
    on_step: OnStep | None = None,
    overwrite: bool = False,
    animate: bool = False,
) -> Tensor:
    """Sample into a sample folder, which is renamed to `out` once it is complete.

    Finished batches are cached beside it until then, so that the same call resumes after an
    interruption. If `out` holds the samples of this job, nothing is sampled, and only pictures that
    are missing or damaged are made. If the job starts from the images of another job, those are
    stored in `base`. Images with a number of channels other than 1, 3 or 4 are stored in the
    archive only.

    Args:
        batch_size: images that are sampled between two saves, rounded up to whole blocks; affects
            no image.
        on_step: called after every step with the number of images in the block, and with all steps
            of a batch that an earlier call finished, as `Cached`.
        overwrite: whether to sample again and replace an existing sample folder.
        animate: whether to write an animation of some images as well; see `animation`.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        FileExistsError: `out` is a file, or a folder that is not empty and holds no samples, or
            without `overwrite` those of another job or damaged ones.
        InUse: another process samples into `out`.
        ValueError: `out` is damaged, or `animate` with a generator that has no steps to show.
        FloatingPointError: sampling gave NaN or infinity.
    """
    if animate:
        check_animated(job)
    with cache_of(out) as cache:
        if overwrite:
            check_free(out, overwrite)
        elif holds(out, job):
            if lacking := missing(out, job, animate):
                _mend(out, job, lacking, cache, on_step)
            for place in reversed(_places(job)):
                if read_sums(out / place) is None:  # a folder of an earlier version
                    seal(out / place)
            empty(cache)
            return images_of(out, job)
        claim_cache(cache, job.manifest())

        def sampled(job: Job, low_res: Tensor | None, depth: int) -> Tensor:
            place = cache.joinpath(*[BASE] * depth)
            return cached_images(place, job, low_res, batch_size, on_step)

        chain = chained(job, sampled)
        film = animation(chain, on_step) if animate else None
        write_folder(out, chain, overwrite, film)
        empty(cache)
        return chain[0][1]


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
    names = [place + name for place in _places(job) for name in (ARCHIVE, MANIFEST)]
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
    places, film = _places(job), {ANIMATION} if animate or (out / ANIMATION).exists() else set()
    pictures = [*(place + SHEET for place in places), *film]
    sums = read_sums(out)
    if sums is None:  # a folder of an earlier version
        return [name for name in pictures if not (out / name).is_file()]
    kept = {place + name for place in places for name in (ARCHIVE, MANIFEST)}
    ours = dict.fromkeys([*pictures, *sums])
    return damaged_parts(out, [name for name in ours if name not in kept | ({ANIMATION} - film)])


def images_of(folder: Path, job: Job | None = None) -> Tensor:
    """Return the images of a sample folder, (N, C, H, W) uint8.

    Args:
        job: whose images they are, if that is known.

    Raises:
        ValueError: the archive is damaged.
    """
    try:
        found = torch.from_numpy(members(folder / ARCHIVE, ("arr_0",), in_memory=True)["arr_0"])
        if found.ndim != 4 or found.dtype != torch.uint8:
            raise ValueError(f"its images are {found.dtype} of shape {tuple(found.shape)}")
        images = found.permute(0, 3, 1, 2).contiguous()
        if job is not None and tuple(images.shape) != (job.count, *job.generator.shape):
            raise ValueError(f"its images are of shape {tuple(images.shape)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / ARCHIVE} is damaged ({error}); pass overwrite=True to sample again"
        ) from None
    return images


def write_folder(
    out: Path, chain: Chain, overwrite: bool = False, film: bytes | None = None
) -> None:
    """Write the sample folder of a job that has been sampled, atomically.

    Args:
        chain: the job with its images, then the job that it started from with its own, and so on.
        overwrite: whether to replace an existing folder.
        film: the bytes of its animation, if there is one.
    """
    with new_folder(out, overwrite) as folder:
        _write(folder, chain, film)


def _write(folder: Path, chain: Chain, film: bytes | None) -> None:
    described: dict[str, Any] = chain[0][0].manifest()
    places = [folder / place for place in _places(chain[0][0])]
    for place, (job, images) in zip(places, chain, strict=True):
        _save(place, job, images, described)
        described = described["low_res"]
    if film is not None:
        write_bytes(folder / ANIMATION, film, sync=False)
    for place in reversed(places):
        seal(place, sync=False)


def _save(folder: Path, job: Job, images: Tensor, manifest: dict[str, Any]) -> None:
    """Write the PNG files, if PNG can hold the images, and the other files of one job."""
    labels = job.label_tensor
    if images.shape[1] in MODES:
        made_by = job.generator
        names = file_names(job.count, labels, made_by.classes, made_by.seed)
        write_images(folder, images, labels, names)
    else:
        folder.mkdir(exist_ok=True)
        arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy()}
        arrays |= {} if labels is None else {"arr_1": labels.numpy()}
        write_npz(folder / ARCHIVE, arrays)
    write_bytes(folder / SHEET, png(contact_sheet(job, images)), sync=False)
    write_json(folder / MANIFEST, manifest, sync=False)


def _places(job: Job) -> list[str]:
    """Return the prefix of the files of a job in its sample folder, then that of its first job."""
    base = _places(job.low_res) if isinstance(job.low_res, Job) else []
    return ["", *(f"{BASE}/{place}" for place in base)]


def _mend(out: Path, job: Job, names: list[str], cache: Path, on_step: OnStep | None) -> None:
    """Make pictures of a finished sample folder from its archives; leave all other files."""
    if damaged := [name for name in names if (out / name).exists()]:
        more = f" and {len(damaged) - 1} more" if damaged[1:] else ""
        notice(f"{out}: {damaged[0]}{more} differed from {SUMS}; made again from {ARCHIVE}")
    empty(cache)
    chain = chained(job, lambda job, low, depth: images_of(out.joinpath(*[BASE] * depth), job))
    fresh = cache / "mended"
    try:
        _write(fresh, chain, animation(chain, on_step) if ANIMATION in names else None)
        for name in names:
            if (out / name).is_symlink():  # else the file that it leads to would be written
                (out / name).unlink()
            write_bytes(out / name, (fresh / name).read_bytes())
    finally:
        empty(cache)
    for place in reversed(_places(job)):
        if sums := read_sums(out / place):  # a folder of an earlier version has none
            new = [name.removeprefix(place) for name in names if name.startswith(place)]
            new += [name for name in sums if name.endswith(f"/{SUMS}")]
            sums |= {name: sha256(out / place / name) for name in new}
            there = {name: each for name, each in sums.items() if (out / place / name).is_file()}
            store_sums(out / place, there)
