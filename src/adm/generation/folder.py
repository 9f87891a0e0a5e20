"""Job -> sample folder, (N, C, H, W) uint8; sample folder -> manifest, images."""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adm.cached import Cached
from adm.data.export import save_images, write_npz
from adm.data.naming import ANIMATION, ARCHIVE, MANIFEST, SHEET
from adm.data.pixels import MODES
from adm.differences import first_difference
from adm.files import new_file, new_folder, write_bytes, write_json
from adm.generation.animation import animation, check_animated
from adm.generation.generator import OnStep
from adm.generation.job import Chain, Job, chained
from adm.generation.sheet import contact_sheet
from adm.parsed import cached_json, read_json, through_json
from adm.pictures import png
from adm.samplers.words import from_json, to_json

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
    are missing are added. If the job starts from the images of another job, those are stored in
    `base`. Images with a number of channels other than 1, 3 or 4 are stored in the archive only.

    Args:
        batch_size: images per batch.
        on_step: called after every step with the number of images in the batch, and with all steps
            of a batch that an earlier call finished, as `Cached`.
        overwrite: whether to sample again and replace an existing sample folder.
        animate: whether to write an animation of some images as well; see `animation`.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        FileExistsError: `out` is a file, or a folder that is not empty and holds no samples, or
            without `overwrite` those of another job.
        ValueError: `out` is damaged, or `animate` with a generator that has no steps to show.
    """
    if animate:
        check_animated(job)
    if overwrite:
        check_free(out, overwrite)
    elif holds(out, job, batch_size):
        _add_pictures(out, job, batch_size, animate, on_step)
        return images_of(out)
    part = out.with_name(f".{out.name}.part")
    claim_cache(part, job.manifest() | {"batch_size": batch_size})

    def sampled(job: Job, low_res: Tensor | None, depth: int) -> Tensor:
        place = part.joinpath(*[BASE] * depth)
        place.mkdir(parents=True, exist_ok=True)
        batches = [
            range(s, min(s + batch_size, job.count)) for s in range(0, job.count, batch_size)
        ]
        return torch.cat([_batch(place, job, list(each), low_res, on_step) for each in batches])

    chain = chained(job, sampled)
    film = animation(chain, batch_size, on_step) if animate else None
    write_folder(out, chain, batch_size, overwrite, film)
    shutil.rmtree(part)
    return chain[0][1]


def holds(out: Path, job: Job, batch_size: int) -> bool:
    """Return whether a folder holds the samples of a job; False if it is empty or absent.

    Raises:
        FileExistsError: it holds other samples, whose first difference is named, or other files.
        ValueError: its manifest is damaged.
    """
    held = read_manifest(out)
    if held is None:
        check_free(out)
        return False
    asked = through_json(job.manifest() | {"batch_size": batch_size})
    difference = first_difference(held, asked)
    if difference is None and not (out / ARCHIVE).is_file():
        difference = f"{ARCHIVE} is missing there"
    if difference is not None:
        raise FileExistsError(
            f"{out} holds other samples: {difference}; choose another folder, or pass "
            "overwrite=True to replace them"
        )
    return True


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
    """Return the pictures that the finished sample folder of a job lacks, relative to it."""
    chain = chained(job, lambda *_: torch.empty(0))
    names = ["/".join([*[BASE] * depth, SHEET]) for depth in range(len(chain))]
    names += [ANIMATION] if animate else []
    return [name for name in names if not (out / name).is_file()]


def images_of(folder: Path) -> Tensor:
    """Return the images of a sample folder, (N, C, H, W) uint8.

    Raises:
        ValueError: the archive is damaged.
    """
    try:
        with np.load(folder / ARCHIVE, allow_pickle=False) as stored:
            return torch.from_numpy(stored["arr_0"]).permute(0, 3, 1, 2).contiguous()
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{folder / ARCHIVE} is damaged ({error}); pass overwrite=True to sample again"
        ) from None


def write_folder(
    out: Path,
    chain: Chain,
    batch_size: int,
    overwrite: bool = False,
    film: bytes | None = None,
) -> None:
    """Write the sample folder of a job that has been sampled, atomically.

    Args:
        chain: the job with its images, then the job that it started from with its own, and so on.
        batch_size: batch size of the sampling, for the manifest.
        overwrite: whether to replace an existing folder.
        film: the bytes of its animation, if there is one.
    """
    described: dict[str, Any] = chain[0][0].manifest()
    with new_folder(out, overwrite) as folder:
        place = folder
        for job, images in chain:
            _save(place, job, images, described | {"batch_size": batch_size})
            place, described = place / BASE, described["low_res"]
        if film is not None:
            write_bytes(folder / ANIMATION, film, sync=False)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a sample folder in the current form; None if there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        made = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); sample again, or remove it") from None
    if not isinstance(made, dict):
        raise ValueError(f"{path} holds no JSON object; sample again, or remove it")
    return _upgraded(made)


def _upgraded(made: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest in the current form: before 0.1 it held flat `settings`, not `sampling`."""
    made = dict(made)
    if isinstance(settings := made.pop("settings", None), dict):
        made["sampling"] = to_json(from_json(settings))
    if isinstance(made.get("low_res"), dict):
        made["low_res"] = _upgraded(made["low_res"])
    return made


def _save(folder: Path, job: Job, images: Tensor, manifest: dict[str, Any]) -> None:
    """Write the PNG files, if PNG can hold the images, and the other files of one job."""
    labels = job.label_tensor
    if images.shape[1] in MODES:
        save_images(folder, images, labels, job.generator.classes, job.generator.seed)
    else:
        folder.mkdir(exist_ok=True)
        arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy()}
        arrays |= {} if labels is None else {"arr_1": labels.numpy()}
        write_npz(folder / ARCHIVE, arrays)
    write_bytes(folder / SHEET, png(contact_sheet(job, images)), sync=False)
    write_json(folder / MANIFEST, manifest, sync=False)


def _add_pictures(
    out: Path, job: Job, batch_size: int, animate: bool, on_step: OnStep | None
) -> None:
    """Add the pictures that a finished sample folder lacks."""
    lacking = missing(out, job, animate)
    if not lacking:
        return
    chain = chained(job, lambda job, low_res, depth: images_of(out.joinpath(*[BASE] * depth)))
    for depth, (each, images) in enumerate(chain):
        path = out.joinpath(*[BASE] * depth, SHEET)
        if not path.is_file():
            write_bytes(path, png(contact_sheet(each, images)), sync=False)
    if ANIMATION in lacking:
        write_bytes(out / ANIMATION, animation(chain, batch_size, on_step), sync=False)


def claim_cache(part: Path, manifest: dict[str, Any]) -> None:
    """Empty a folder of cached samples unless its manifest is the same."""
    path = part / MANIFEST
    if cached_json(path) == through_json(manifest):
        return
    shutil.rmtree(part, ignore_errors=True)
    write_json(path, manifest)


def _batch(
    part: Path,
    job: Job,
    indices: Sequence[int],
    low_res: Tensor | None,
    on_step: OnStep | None,
) -> Tensor:
    path = part / f"{indices[0]:08d}.npz"
    if path.exists():
        if on_step is not None:
            on_step(Cached(len(indices) * job.generator.evaluations))
        with np.load(path, allow_pickle=False) as stored:
            return torch.from_numpy(stored["images"])
    labels = None if job.labels is None else torch.tensor([job.labels[i] for i in indices])
    low = None if low_res is None else low_res[list(indices)]
    images = job.generator.images(labels, indices, low, on_step)
    with new_file(path) as fresh:
        write_npz(fresh, {"images": images.numpy()})
    return images
