"""Job -> sample folder, (N, C, H, W) uint8; sample folder -> images.

Finished batches are parts in the work folder beside it, written by one process, the ranks of a
launcher, or shards. The process that finds all parts, and holds the lock of the work folder, writes
the sample folder, some images at a time, so that memory use does not grow with their number.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.cached import Cached
from adm.data.export import TOGETHER, file_names, write_parts
from adm.data.naming import ANIMATION, ARCHIVE, MANIFEST, SHEET
from adm.data.pixels import MODES
from adm.differences import first_difference
from adm.generation.animation import animation, check_animated
from adm.generation.blocks import whole_blocks
from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.generation.manifest import SAMPLES, read_manifest
from adm.generation.shares import Shard
from adm.generation.sheet import contact_sheet
from adm.pictures import png
from adm.processes import Devices
from adm.spec import SettingError
from adm.store.arrays import load_arrays
from adm.store.files import empty, new_folder, work_folder, work_path, write_bytes, write_json
from adm.store.hashes import SUMS, damaged_parts, read_sums, seal, sha256, store_sums
from adm.store.locks import InUse, locked
from adm.store.parsed import cached_json, through_json
from adm.store.parts import Parts
from adm.store.spans import common, divide

STARTING_S = 10.0  # how long a shard waits for another one that starts or ends
log = logging.getLogger(__name__)

Film = Callable[[Tensor], bytes]  # all images -> the bytes of their animation


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

    The same call resumes after an interruption from the batches that are finished, those of
    `sample_shard` included. If `out` holds the samples of this job, nothing is done. Images with a
    number of channels other than 1, 3 or 4 are stored in the archive only.

    Args:
        batch_size: images that are sampled between two saves, rounded up to whole blocks; affects
            no image.
        on_step: called after every step with the network evaluations that it took, and with those
            that an earlier call has made, as `Cached`. Of several ranks, each counts for all.
        overwrite: whether to sample again and replace an existing sample folder.
        animate: whether to write an animation of some images as well; see `animation`.
        devices: the ranks that share the images, all of which must call with one job and one
            folder, on a disk that all of them see; by default a single process.

    Returns:
        (N, C, H, W) uint8, memory-mapped from the archive.

    Raises:
        SettingError: `out` is not free, and without `overwrite` holds no samples, those of another
            job, or damaged ones; or `animate` with a generator that has no steps to show.
        InUse: another process samples into `out`.
        ValueError: parts of the samples are damaged, or cannot be seen by all ranks.
        FloatingPointError: sampling gave NaN or infinity.
    """
    if animate:
        check_animated(job)
    devices = devices or Devices(torch.device("cpu"))
    devices.agree("model, settings or number of images", job.fingerprint)
    parts = Parts(work_path(out), job.fingerprint)
    with ExitStack() as stack:
        devices.once(lambda: stack.enter_context(_hold(out, parts)))
        if devices.once(lambda: _is_complete(out, job, parts, overwrite)):
            devices.once(lambda: _add_animation(out, job, on_step) if animate else None)
            return devices.each(lambda: _map_images(out, job))
        missing = devices.once(lambda: _claim(out, job, parts))
        mine = Shard(devices.rank + 1, devices.world).share(missing, job.generator.block)
        report = None
        if on_step is not None:
            _report_cached(job, missing, on_step)
            report = _as_share(on_step, sum(map(len, mine)), sum(map(len, missing)))
        devices.each(lambda: _make(job, mine, parts, batch_size, report))

        def finish() -> None:
            film = (lambda images: animation(job, images, on_step)) if animate else None
            write_folder(out, job, _read_parts(job, parts), overwrite, film, parts.folder)

        devices.once(finish)
        return devices.each(lambda: _map_images(out, job))


# Seven parameters: as `sample_into`.
def sample_shard(
    out: Path,
    job: Job,
    shard: Shard,
    *,
    batch_size: int = 64,
    on_step: OnStep | None = None,
    overwrite: bool = False,
    animate: bool = False,
) -> list[range]:
    """Sample a share of the images into the work folder beside `out`.

    Shards may run at the same time or one after another, on one machine or on several whose work
    folders are copied together. The one that finds all images there writes the sample folder; so
    does `sample_into`.

    Args:
        shard: which share this is.
        on_step: as for `sample_into`; counts the images of other shards as `Cached`.

    Returns:
        The images that are still missing; none if `out` is complete, or is completed by another
        process.

    Raises:
        InUse: another process samples this shard, or all images.
        SettingError, ValueError, FloatingPointError: as `sample_into`; or the work folder holds
            images of another job.
    """
    if animate:
        check_animated(job)
    parts = Parts(work_path(out), job.fingerprint)
    with locked(parts.folder, f"shard-{shard.number}-of-{shard.of}.lock", of=out):
        with work_folder(out, STARTING_S):
            if _is_complete(out, job, parts, overwrite):
                return []
            missing = _claim(out, job, parts, shard)
        mine = common(missing, shard.share([range(job.count)], job.generator.block))
        if on_step is not None:
            _report_cached(job, mine, on_step)
        _make(job, mine, parts, batch_size, on_step)
    missing = parts.missing(range(job.count))
    if missing and (overwrite or not holds(out, job)):
        return missing
    with suppress(InUse):  # another shard has found all images as well, and writes the folder
        sample_into(out, job, batch_size=batch_size, overwrite=overwrite, animate=animate)
    return []


def write_folder(
    out: Path,
    job: Job,
    images: Iterable[Tensor],
    overwrite: bool = False,
    film: Film | None = None,
    work: Path | None = None,
) -> None:
    """Write the sample folder of a job that has been sampled, atomically.

    Args:
        images: (B, C, H, W) uint8 each, together all images in order.
        overwrite: whether to replace an existing folder.
        film: renders its animation; None for none.
        work: the work folder of `out`, if the caller holds its lock.
    """
    generator = job.generator
    shape = (job.count, *generator.shape)
    names = None
    if generator.shape[0] in MODES:
        names = file_names(job.count, job.label_tensor, generator.classes, generator.seed)
    with new_folder(out, overwrite, work) as folder:
        write_parts(folder, shape, images, job.label_tensor, names)
        write_bytes(folder / SHEET, png(contact_sheet(job, _map_images(folder, job))), sync=False)
        if film is not None:
            write_bytes(folder / ANIMATION, film(_map_images(folder, job)), sync=False)
        write_json(folder / MANIFEST, job.manifest())
        seal(folder)


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
    difference = first_difference(manifest, through_json(job.manifest())) or _damage(out)
    if difference is None:
        return True
    raise _not_free(
        out,
        f"it holds other samples: {difference}; choose another folder, or pass {{overwrite=True}} "
        "to replace them",
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
        raise _not_free(out, "it already exists and is not empty; choose another folder")
    if not (out / MANIFEST).is_file():
        raise _not_free(
            out,
            f"it is not empty and holds no {MANIFEST}, and only a sample folder is replaced; "
            "choose another folder",
        )


def images_of(folder: Path, job: Job | None = None) -> Tensor:
    """Return the images of a sample folder, (N, C, H, W) uint8, in memory.

    Args:
        job: whose images they are, if that is known.

    Raises:
        ValueError: the archive is damaged.
    """
    return _map_images(folder, job).contiguous().clone()


def _not_free(out: Path, cure: str) -> SettingError:
    return SettingError("out", "a folder for these samples", str(out), cure)


def _damage(out: Path) -> str | None:
    """Describe the damage of a file on which the others depend; None if there is none."""
    try:
        damaged = damaged_parts(out, (ARCHIVE, MANIFEST))
    except ValueError as error:
        return str(error)
    if not damaged and read_sums(out) is not None:
        return None
    return f"{damaged[0] if damaged else SUMS} is missing or damaged there"


@contextmanager
def _hold(out: Path, parts: Parts) -> Iterator[None]:
    """Hold the work folder of `out`, which is emptied if the block leaves no part in it."""
    with work_folder(out) as work:
        try:
            yield
        finally:
            if not parts.spans():
                empty(work)


def _is_complete(out: Path, job: Job, parts: Parts, overwrite: bool) -> bool:
    """Return whether a folder holds the samples of a job; no parts are needed then."""
    if overwrite:
        check_free(out, overwrite)
        return False
    if not holds(out, job):
        return False
    empty(parts.folder)
    return True


def _claim(out: Path, job: Job, parts: Parts, shard: Shard | None = None) -> list[range]:
    """Record the job of a locked work folder; return the images that it lacks.

    Images of another job are discarded, unless they are those of shards.

    Raises:
        InUse: a shard is being sampled, and this is none.
        ValueError: shards have sampled images of another job; names the first difference.
    """
    if shard is None:
        for lock in parts.folder.glob("shard-*.lock"):
            with locked(parts.folder, lock.name, of=out):
                pass
    note = parts.folder / MANIFEST
    stored, manifest = cached_json(note, SAMPLES) or {}, through_json(job.manifest())
    if stored.get("samples") != manifest:
        if parts.spans() and (shard or stored.get("shards")):
            difference = first_difference(stored.get("samples"), manifest)
            raise ValueError(
                f"{parts.folder} holds a part of other samples: {difference}; give the same "
                "settings, choose another folder, or remove that one"
            )
        empty(parts.folder)
        write_json(note, {"shards": shard is not None, "samples": manifest})
    for span in parts.spans():
        if _part(job, parts, span) is None:
            log.warning("%s is damaged, or of other samples; it is sampled again", parts.path(span))
            parts.path(span).unlink(missing_ok=True)
    return parts.missing(range(job.count))


def _report_cached(job: Job, missing: list[range], on_step: OnStep) -> None:
    """Report the evaluations of the images that need not be sampled."""
    if done := job.count - sum(map(len, missing)):
        on_step(Cached(done * job.generator.evaluations))


def _as_share(on_step: OnStep, own: int, total: int) -> OnStep:
    """Return a callback for a rank that samples `own` of `total` images, which counts for all."""
    done = reported = 0

    def step(evaluations: int) -> None:
        nonlocal done, reported
        done += evaluations
        due = done * total // own
        on_step(due - reported)
        reported = due

    return step


def _make(
    job: Job, mine: list[range], parts: Parts, batch_size: int, on_step: OnStep | None
) -> None:
    """Sample images, and write each batch as a part."""
    for span in divide(mine, whole_blocks(batch_size, job.generator.block)):
        parts.write(span, images=job.images(span, on_step).numpy())


def _part(job: Job, parts: Parts, span: range) -> Tensor | None:
    """Return the images of a part; None if it is damaged, or of another job."""
    images = (parts.read(span) or {}).get("images")
    if images is None or images.dtype != np.uint8 or span.stop > job.count:
        return None
    shape = (len(span), *job.generator.shape)
    return torch.from_numpy(images) if images.shape == shape else None


def _read_parts(job: Job, parts: Parts) -> Iterator[Tensor]:
    """Yield the images of all parts in order; parts may overlap, where their images are equal."""
    if missing := parts.missing(range(job.count)):
        raise ValueError(
            f"images {missing[0].start} to {missing[0].stop - 1} are not in {parts.folder}, where "
            "another process was to write them; choose a folder on a disk that all processes share"
        )
    stop = 0
    for span in parts.spans():
        if span.stop <= stop:
            continue
        images = _part(job, parts, span)
        if images is None:
            raise ValueError(
                f"{parts.path(span)} was damaged since it was written; run the same command again, "
                "which samples its images again"
            )
        yield from images[stop - span.start :].split(TOGETHER)
        stop = span.stop


def _add_animation(out: Path, job: Job, on_step: OnStep | None) -> None:
    """Animate the samples of a finished folder, if it has no animation."""
    if (out / ANIMATION).is_file():
        return
    write_bytes(out / ANIMATION, animation(job, _map_images(out, job), on_step))
    store_sums(out, (read_sums(out) or {}) | {ANIMATION: sha256(out / ANIMATION)})


def _map_images(folder: Path, job: Job | None = None) -> Tensor:
    """Return the images as `images_of`, mapped from the archive."""
    try:
        pixels = torch.from_numpy(load_arrays(folder / ARCHIVE, ("arr_0",))["arr_0"])
        if pixels.ndim != 4 or pixels.dtype != torch.uint8:
            raise ValueError(f"its images are {pixels.dtype} of shape {tuple(pixels.shape)}")
        images = pixels.permute(0, 3, 1, 2)
        if job is not None and tuple(images.shape) != (job.count, *job.generator.shape):
            raise ValueError(f"its images are of shape {tuple(images.shape)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / ARCHIVE} is damaged ({error}); sample again") from None
    return images
