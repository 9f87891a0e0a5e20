"""Job -> sample folder, (N, C, H, W) uint8; sample folder -> manifest."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adm.data.export import ARCHIVE, save_images, write_npz
from adm.data.pixels import MODES
from adm.files import cached_json, new_file, new_folder, read_json, through_json, write_json
from adm.generation.generator import OnStep
from adm.generation.job import Chain, Job, chained
from adm.samplers.words import from_json, to_json

MANIFEST = "samples.json"
BASE = "base"  # folder of the sampled images that an upsampler started from


def sample_into(
    out: Path,
    job: Job,
    *,
    batch_size: int = 64,
    on_step: OnStep | None = None,
    replace: bool = False,
) -> Tensor:
    """Sample into a sample folder, which is renamed to `out` once it is complete.

    Finished batches are cached beside it until then, so that the same call resumes after an
    interruption. If the job starts from the images of another job, those are stored in `base`.
    Images with a number of channels other than 1, 3 or 4 are stored in the archive only.

    Args:
        batch_size: images per batch.
        on_step: called after every step with the number of images in the batch.
        replace: whether to replace an existing folder.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        FileExistsError: `out` exists and is not empty, without `replace`.
    """
    check_free(out, replace)
    part = out.with_name(f".{out.name}.part")
    _claim(part, job.manifest() | {"batch_size": batch_size})

    def images_of(job: Job, low_res: Tensor | None, depth: int) -> Tensor:
        place = part.joinpath(*[BASE] * depth)
        place.mkdir(parents=True, exist_ok=True)
        batches = [
            range(s, min(s + batch_size, job.count)) for s in range(0, job.count, batch_size)
        ]
        return torch.cat([_batch(place, job, list(each), low_res, on_step) for each in batches])

    chain = chained(job, images_of)
    write_folder(out, chain, batch_size, replace)
    shutil.rmtree(part)
    return chain[0][1]


def check_free(out: Path, replace: bool) -> None:
    """Raise FileExistsError if `out` is a file or a folder that is not empty, without `replace`."""
    if out.exists() and not replace and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} already exists and is not empty; choose another folder")


def write_folder(out: Path, chain: Chain, batch_size: int, replace: bool = False) -> None:
    """Write the sample folder of a job that has been sampled, atomically.

    Args:
        chain: the job with its images, then the job that it started from with its own, and so on.
        batch_size: batch size of the sampling, for the manifest.
    """
    described: dict[str, Any] = chain[0][0].manifest()
    with new_folder(out, replace) as folder:
        place = folder
        for job, images in chain:
            _save(place, job, images, described | {"batch_size": batch_size})
            place, described = place / BASE, described["low_res"]


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
    """Write the PNG files, if PNG can hold the images, the archive and the manifest of one job."""
    labels = job.label_tensor
    if images.shape[1] in MODES:
        save_images(folder, images, labels, job.generator.classes, job.generator.seed)
    else:
        folder.mkdir(exist_ok=True)
        arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy()}
        arrays |= {} if labels is None else {"arr_1": labels.numpy()}
        write_npz(folder / ARCHIVE, arrays)
    write_json(folder / MANIFEST, manifest, sync=False)


def _claim(part: Path, manifest: dict[str, Any]) -> None:
    """Empty the folder of finished batches unless they are of the same job."""
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
            on_step(len(indices) * job.generator.evaluations)
        with np.load(path, allow_pickle=False) as stored:
            return torch.from_numpy(stored["images"])
    labels = None if job.labels is None else torch.tensor([job.labels[i] for i in indices])
    low = None if low_res is None else low_res[list(indices)]
    images = job.generator.images(labels, indices, low, on_step)
    with new_file(path) as fresh:
        write_npz(fresh, {"images": images.numpy()})
    return images
