"""Job, images in memory or on disk -> sample folder, written some images at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from adm.data.export import Part, file_names, write_parts
from adm.data.naming import ANIMATION, BASE, MANIFEST, SHEET
from adm.generation.batches import parts_of
from adm.generation.job import Chain, Images, Job
from adm.generation.sheet import contact_sheet
from adm.pictures import png
from adm.store.files import new_folder, write_bytes, write_json
from adm.store.hashes import seal


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
        write(folder, chain, film)


def write(folder: Path, chain: Chain, film: bytes | None) -> None:
    """Write the files of `write_folder` into a folder."""
    described: dict[str, Any] = chain[0][0].manifest()
    folders = [folder / place for place in places(chain[0][0])]
    for place, (job, images) in zip(folders, chain, strict=True):
        _save(place, job, images, described)
        described = described["low_res"]
    if film is not None:
        write_bytes(folder / ANIMATION, film, sync=False)
    for place in reversed(folders):
        seal(place, sync=False)


def _save(folder: Path, job: Job, images: Images, manifest: dict[str, Any]) -> None:
    """Write the PNG files, if PNG can hold the images, and the other files of one job."""
    made_by = job.generator
    write_parts(folder, (job.count, *made_by.shape), _named(job, images), job.label_tensor)
    write_bytes(folder / SHEET, png(contact_sheet(job, images)), sync=False)
    write_json(folder / MANIFEST, manifest, sync=False)


def _named(job: Job, images: Images) -> Iterator[Part]:
    made_by = job.generator
    for span, pixels, pictures in parts_of(images):
        labels = None if job.labels is None else torch.tensor(job.labels[span.start : span.stop])
        names = file_names(len(span), labels, made_by.classes, made_by.seed, span)
        yield Part(pixels, names if pictures else [], pictures)


def places(job: Job) -> list[str]:
    """Return the prefix of the files of a job in its sample folder, then that of its first job."""
    base = places(job.low_res) if isinstance(job.low_res, Job) else []
    return ["", *(f"{BASE}/{place}" for place in base)]
