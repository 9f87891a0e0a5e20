"""Source, Features, folder -> Reference, made once: a file named by all that it depends on."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from adm.app.scoring.extraction import DEFAULT, Extraction
from adm.app.scoring.manifest import versions
from adm.app.scoring.reference import SUFFIX, Reference, load_reference, make_reference
from adm.data import Source
from adm.data.fingerprint import fingerprint
from adm.features import Features
from adm.store.hashes import sha256_of

FILE = ("file", "file_sha256")  # what `load_reference` adds to a manifest
MOST = 16  # references that a folder keeps; each has up to 10,000 images


def cached_reference(
    source: Source, features: Features, folder: Path, extraction: Extraction = DEFAULT
) -> Reference:
    """Return the reference of images, which an earlier call may have kept in the folder.

    The folder keeps the `MOST` that were used last. One that is damaged is made again; where the
    folder cannot be written, every call makes its own.

    Args:
        source: real images of one size.
        features: the extractor.
        extraction: ranks, batch size, cache of features and progress.
    """
    devices = extraction.devices
    path = folder / devices.once(lambda: _name(source, features))
    found = _read(path)
    if all(devices.gather(found is not None)) and found is not None:
        return found
    made = make_reference(source, features, extraction)
    devices.once(lambda: _keep(made, path))
    return _read(path) or made


def _name(source: Source, features: Features) -> str:
    """Name the file of a reference.

    The bytes of all images are read, which is much faster than extracting their features: images
    that have changed under the same names would give other scores.
    """
    of = {
        "source": (source.name, source.shape, source.classes),
        "images": asdict(fingerprint(source, pixels=True)),
        "labels": sha256_of(source.labels.numpy().tobytes()),
        "features": (features.name, features.fingerprint),
        "versions": versions(),
    }
    return sha256_of(json.dumps(of, sort_keys=True).encode())[:32] + SUFFIX


def _read(path: Path) -> Reference | None:
    try:
        found = load_reference(path)
    except (OSError, ValueError):  # it is absent, or damaged: checksums are verified
        return None
    with suppress(OSError):
        os.utime(path)
    # What it is of describes it, and not the file in which it is kept.
    own = {key: value for key, value in found.manifest.items() if key not in FILE}
    return replace(found, manifest=own)


def _keep(made: Reference, path: Path) -> None:
    with suppress(OSError):  # no room, or no right to write: the next call makes it again
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path)
        by_use = sorted(path.parent.glob(f"*{SUFFIX}"), key=lambda each: each.stat().st_mtime)
        for each in by_use[:-MOST]:
            each.unlink()
