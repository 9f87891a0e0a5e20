"""Job -> sample folder, (N, C, H, W); sample folder -> images.

The blocks of images are parts of work in the hidden folder beside it. The process that finds all of
them, and holds the lock of that folder, writes the sample folder, some images at a time, so that
memory use does not grow with their number.
"""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.differences import first_difference
from adm.generation.animation import animation
from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.generation.pngs import file_names, write_parts
from adm.generation.sheet import contact_sheet
from adm.images import RANGES, UINT8, Range
from adm.pictures import png
from adm.processes import Devices
from adm.shown import shown_path
from adm.spec import SettingError, literal, parse
from adm.store.arrays import load_arrays
from adm.store.files import empty, new_folder, work_folder, work_path, write_bytes, write_json
from adm.store.hashes import SUMS, damaged_parts, read_sums, seal, sha256, store_sums
from adm.store.locks import InUse
from adm.store.parsed import through_json
from adm.store.samples import ANIMATION, ARCHIVE, MANIFEST, SHEET, read_manifest
from adm.store.work import ALL, Arrays, Report, Share, Work

IMAGES = "images"  # of a part
STARTING_S = 10.0  # how long a share waits for another process that starts or ends


def sample_into(
    out: Path,
    job: Job,
    *,
    on_step: OnStep | None = None,
    overwrite: bool = False,
    devices: Devices | None = None,
) -> Tensor:
    """Sample into a sample folder, which is renamed to `out` once it is complete.

    The same call resumes after an interruption from the blocks that are finished, those of
    `sample_share` included. If `out` holds the samples of this job, nothing is done. Images that
    PNG files cannot have, by `Range.encoded`, are stored in the archive only.

    Args:
        on_step: called once with the network evaluations that an earlier call has made, and after
            every step with those that it took. Of several ranks, each counts for all.
        overwrite: whether to sample again and replace an existing sample folder.
        devices: the ranks that share the images, all of which must call with one job and one
            folder, on a disk that all of them see; by default a single process.

    Returns:
        (N, C, H, W), memory-mapped from the archive if they are uint8.

    Raises:
        SettingError: `out` is not free, and without `overwrite` holds no samples, those of another
            job, or damaged ones.
        InUse: another process samples into `out`.
        ValueError: the work folder holds shares of other samples, or is not seen by all ranks.
        FloatingPointError: sampling gave NaN or infinity.
    """
    devices = devices or Devices(torch.device("cpu"))
    devices.agree("model, settings or number of images", job.fingerprint)
    work = _work(out, job)
    with ExitStack() as stack:
        devices.once(lambda: stack.enter_context(work_folder(out)))
        if not devices.once(lambda: _is_complete(out, job, overwrite)):
            _run(work, job, devices, on_step)
            devices.once(lambda: _finish(out, job, work, overwrite))
        return devices.each(lambda: _map_images(out, job))


def sample_share(
    out: Path,
    job: Job,
    share: Share,
    *,
    on_step: OnStep | None = None,
) -> list[range]:
    """Sample a share of the images into the work folder beside `out`.

    Shares may be made at the same time or one after another, on one machine or on several whose
    work folders are copied together. The one that finds all images there writes the sample folder;
    so does `sample_into`.

    Args:
        share: which share this is.
        on_step: as for `sample_into`; the images of other shares count as made by an earlier call.

    Returns:
        The images that are still missing; none if `out` is complete, or is completed by another
        process.

    Raises:
        InUse: another process samples all images.
        SettingError, ValueError, FloatingPointError: as `sample_into`.
    """
    work = _work(out, job)
    with work_folder(out, STARTING_S):
        if _is_complete(out, job):
            return []
    _run(work, job, Devices(torch.device("cpu")), on_step, share)
    with suppress(InUse), work_folder(out, STARTING_S):  # unless another one writes the folder
        if _is_complete(out, job):
            return []
        if missing := work.missing():
            return missing
        _finish(out, job, work)
    return []


def write_folder(
    out: Path,
    job: Job,
    images: Iterable[Tensor],
    overwrite: bool = False,
    work: Path | None = None,
) -> None:
    """Write the sample folder of a job that has been sampled, atomically.

    Args:
        images: (B, C, H, W) each, together all images in order.
        overwrite: whether to replace an existing folder.
        work: the work folder of `out`, if the caller holds its lock.
    """
    generator = job.generator
    shape = (job.count, *generator.shape)
    names, stored = None, range_of(generator.manifest())
    if generator.shape[0] in stored.encoded:
        names = file_names(job.count, job.label_tensor, generator.classes, generator.seed)
    with new_folder(out, overwrite, work) as folder:
        write_parts(folder, shape, images, job.label_tensor, names, stored)
        write_bytes(folder / SHEET, png(contact_sheet(job, _map_images(folder, job))), sync=False)
        write_json(folder / MANIFEST, job.manifest())
        seal(folder)


def add_animation(out: Path, job: Job, on_step: OnStep | None = None) -> None:
    """Animate the samples of a finished folder, unless it has their animation; see `animation`."""
    sums = read_sums(out) or {}
    if ANIMATION in sums and (out / ANIMATION).is_file():
        return
    write_bytes(out / ANIMATION, animation(job, _map_images(out, job), on_step))
    store_sums(out, sums | {ANIMATION: sha256(out / ANIMATION)})


def holds(out: Path, job: Job) -> bool:
    """Return whether a folder holds the samples of a job; False if it is empty or absent.

    Raises:
        SettingError: it holds other samples, whose first difference is named, damaged ones, or
            other files.
        ValueError: its manifest is damaged.
    """
    manifest = read_manifest(out)
    if manifest is None:
        check_free(out)
        return False
    difference = first_difference(manifest, through_json(job.manifest())) or damage(out)
    if difference is None:
        return True
    raise SettingError(
        "out",
        f"{literal(shown_path(out))} holds other samples: {literal(difference)}; choose another "
        "folder, or pass {overwrite=True} to replace them",
    )


def check(folder: Path) -> None:
    """Raise ValueError if SHA256SUMS shows that images or manifest of a folder are damaged.

    A folder without SHA256SUMS passes.
    """
    listed = read_sums(folder) or {}
    if damaged := damaged_parts(folder, {ARCHIVE, MANIFEST} & listed.keys()):
        raise ValueError(
            f"{folder / damaged[0]} is not as it was written, by {SUMS} beside it; sample again"
        )


def check_free(out: Path, overwrite: bool = False) -> None:
    """Raise SettingError unless `out` is absent, empty, or a sample folder to overwrite."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        path = literal(shown_path(out))
        raise SettingError("out", f"{path} exists and is not empty; choose another folder")
    if not (out / MANIFEST).is_file():
        raise SettingError(
            "out",
            f"{literal(shown_path(out))} is not empty and holds no {MANIFEST}, and only a sample "
            "folder is replaced; choose another folder",
        )


def images_of(folder: Path, job: Job | None = None) -> Tensor:
    """Return the images of a sample folder, (N, C, H, W), in memory.

    Args:
        job: whose images they are, if that is known.

    Raises:
        ValueError: the archive is damaged.
    """
    return _map_images(folder, job).contiguous().clone()


def range_of(manifest: dict[str, Any] | None) -> Range:
    """Return the range of samples by their manifest, which does not state that of 8 bits."""
    return parse(RANGES, str((manifest or {}).get("range", UINT8.name)), "range")


def damage(out: Path) -> str | None:
    """Describe the damage of a file on which the others depend; None if there is none."""
    try:
        damaged = damaged_parts(out, (ARCHIVE, MANIFEST))
    except ValueError as error:
        return str(error)
    if not damaged and read_sums(out) is not None:
        return None
    return f"{damaged[0] if damaged else SUMS} is missing or damaged there"


def _is_complete(out: Path, job: Job, overwrite: bool = False) -> bool:
    """Return whether a folder holds the samples of a job; no parts are needed then."""
    if overwrite:
        check_free(out, overwrite)
        return False
    if not holds(out, job):
        return False
    empty(work_path(out))
    return True


def _work(out: Path, job: Job) -> Work:
    """Return the images of a job as work beside `out`, in blocks, which are computed together."""
    return Work(work_path(out), job.count, job.generator.block, job.manifest())


def _run(
    work: Work, job: Job, devices: Devices, on_step: OnStep | None, share: Share = ALL
) -> None:
    """Sample the images that the work lacks."""

    def make(span: range, _: None, report: Report) -> Arrays:
        return {IMAGES: job.images(span, report).numpy()}

    cost = job.generator.evaluations
    work.run(make, devices, on_step or (lambda evaluations: None), cost=cost, share=share)


def _finish(out: Path, job: Job, work: Work, overwrite: bool = False) -> None:
    """Write the sample folder from all parts."""
    write_folder(out, job, map(torch.from_numpy, work.arrays(IMAGES)), overwrite, work.folder)


def _map_images(folder: Path, job: Job | None = None) -> Tensor:
    """Return the images as `images_of`, mapped from the archive."""
    try:
        stored = range_of(job.generator.manifest() if job else read_manifest(folder))
        pixels = load_arrays(folder / ARCHIVE, ("arr_0",))["arr_0"]
        if pixels.ndim != 4 or pixels.dtype != stored.dtype:
            raise ValueError(f"its images are {pixels.dtype} of shape {pixels.shape}")
        images = stored.read(pixels).permute(0, 3, 1, 2)
        if job is not None and tuple(images.shape) != (job.count, *job.generator.shape):
            raise ValueError(f"its images are of shape {tuple(images.shape)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / ARCHIVE} is damaged ({error}); sample again") from None
    return images
