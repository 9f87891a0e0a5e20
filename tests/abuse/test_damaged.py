"""Damaged files of every format -> a line, or what they held, in time and in bounded memory."""

import gzip
import io
import json
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
import tiny
import torch
from abuse import formats
from data.test_archives import FILES, LABELS, LISTS, make_folder, make_tar, make_zip, png, shard
from evaluation.stubs import blocks, spots
from mutations import damaged, ends_within, json_bytes, refusal
from PIL import Image

from adm.app.scoring import Report, Score, load_reference, load_report, make_reference, open_images
from adm.app.scoring.scores import ClassScores
from adm.data import open_source
from adm.data.idx import read_idx
from adm.data.inspect import inspect
from adm.data.registry import find
from adm.models.convert.released import visible_settings
from adm.models.load import load_any, recipe_of
from adm.models.paths import kind_of
from adm.models.pickled import read_tensors
from adm.networks import on_meta, shapes_of
from adm.recipes import build
from adm.spec import to_json

pytestmark = pytest.mark.filterwarnings("ignore")  # of decoders, which the command line quiets
Mutator = Callable[[Random, bytes], bytes]
MOST_MEMORY = 1 << 25  # bytes that Python and numpy allocate for a file of a few thousand


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        write: writes one at a path; may write others beside it.
        read: opens it and uses all of it.
        mutate: damages its bytes.
        exact: whether its checksums notice all damage, so that what is read is what was written.
        often: the share of damaged files that is refused at least.
    """

    write: Callable[[Path], object]
    read: Callable[[Path], object]
    mutate: Mutator = damaged
    exact: bool = False
    often: float = 0.1


def pixels(spec: Path, **how: object) -> object:
    source = open_source(str(spec), **how)  # type: ignore[arg-type]
    images, labels = source.batch(range(len(source)))
    return images.numpy().tolist(), labels.tolist(), source.classes


def small(spec: Path) -> object:
    return pixels(spec, size=(8, 8))


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
HELD = {"arr_0": IMAGES, "arr_1": np.arange(6) % 3, "classes": np.array(["ant", "bee", "cat"])}
LONG = {"d" * 60 + "/" + "e" * 90 + ".png": png(4)}


def idx(path: Path) -> None:
    content = struct.pack(">HBB3I", 0, 8, 3, 6, 5, 4) + IMAGES[..., 0].tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def archive(write: Callable[..., str], files: dict[str, bytes], form: int) -> Format:
    def at(path: Path) -> None:
        Path(write(path.with_name("whole"), files, form)).rename(path)

    return Format(at, small, often=0.3)


ARRAYS = {
    "stored.npz": Format(lambda path: np.savez(path, **HELD), pixels, exact=True, often=0.3),
    "packed.npz": Format(lambda path: np.savez_compressed(path, **HELD), pixels, exact=True),
    "edited.npz": Format(lambda path: np.savez(path, **HELD), pixels, formats.npz, often=0.3),
    "images.npy": Format(lambda path: np.save(path, IMAGES), pixels, formats.npy, often=0.3),
    "images-idx3-ubyte": Format(idx, lambda path: read_idx(path).tolist()),
    "images-idx3.gz": Format(idx, lambda path: read_idx(path).tolist(), exact=True, often=0.3),
}
ARCHIVES = {
    "stored.zip": archive(make_zip, FILES | LONG, zipfile.ZIP_STORED),
    "deflated.zip": archive(make_zip, FILES | LONG, zipfile.ZIP_DEFLATED),
    "ustar.tar": archive(make_tar, FILES, tarfile.USTAR_FORMAT),
    "gnu.tar": archive(make_tar, FILES | LONG, tarfile.GNU_FORMAT),
    "pax.tar": archive(make_tar, FILES | LONG, tarfile.PAX_FORMAT),
    "webdataset.tar": archive(make_tar, shard(0, 4, LABELS["both"]), tarfile.PAX_FORMAT),
}


def listed(name: str, text: str) -> Format:
    """A list of labels beside the images of a folder."""
    how = {} if name == "dataset.json" else {"labels": name}

    def write(path: Path) -> None:
        names = ("dog", "cat", "dog")
        make_folder(path.parent, {f"{each}_{i}.png": png(i) for i, each in enumerate(names)})
        path.write_text(text)

    mutate = json_bytes if name.endswith(".json") else formats.csv_text
    return Format(write, lambda path: pixels(path.parent, size=(4, 4), **how), mutate, often=0.3)


MORE_LISTS = {
    "dataset.json": LISTS["f.json"],
    "quoted.csv": '"dog_0","pet"\n"cat_1","cat"\n"dog_2",pet\n',
}


def saved(zipped: bool) -> Format:
    held = {
        "time_embed.0.weight": torch.ones(4, 4),
        "input_blocks.0.0.weight": torch.ones(4, 1, 3, 3),
        "count": torch.tensor(3),
    }

    def write(path: Path) -> None:
        torch.save(held, path, _use_new_zipfile_serialization=zipped)

    return Format(write, lambda path: visible_settings(shapes_of(read_tensors(path))), often=0.3)


def model(kind: str) -> Format:
    def read(path: Path) -> None:
        assert load_any(path).recipe.kind == kind_of(path)

    return Format(lambda path: tiny.model(path, tiny.KINDS[kind]()), read, formats.safetensors)


def described(path: Path) -> object:
    recipe = recipe_of(str(path))
    build.check(recipe)
    return on_meta(recipe.config)


def sampled(path: Path) -> None:
    """A sample folder: the archive, and what the manifest says of it."""
    images, labels = spots(12, seed=1).batch(range(12))
    arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy(), "arr_1": labels.numpy()}
    np.savez(path.parent / "samples.npz", **arrays)
    manifest = {"classes": ["a", "b", "c"], "model": {"name": "m"}, "count": 12, "low_res": None}
    (path.parent / "samples.json").write_text(json.dumps(manifest))


def reported(path: Path) -> None:
    row = ClassScores("a", 30, 40, 1.0, 0.5, None)
    given = {"frechet": Score(1.5)}, {"generated": {}}, [row], ["warned"]
    Report("blocks", *given).save(path)


def reference(path: Path) -> None:
    make_reference(spots(12), blocks()).save(path)


def of_reference(path: Path) -> object:
    found = load_reference(path, blocks())
    json.dumps(found.manifest)
    arrays = (found.pool, found.images, found.labels, found.statistics.covariance)
    held = [np.asarray(each).tolist() for each in arrays]
    return held, found.features, found.fingerprint, found.count, found.classes


def opened_samples(path: Path) -> None:
    assert all(type(name) is str for name in open_images(str(path.parent)).source.classes)


FORMATS: dict[str, Format] = {
    **ARRAYS,
    **ARCHIVES,
    **{name: listed(name, text) for name, text in {**LISTS, **MORE_LISTS}.items()},
    **{f"{kind}.safetensors": model(kind) for kind in tiny.KINDS},
    "zip.pt": saved(True),
    "legacy.pt": saved(False),
    "recipe.json": Format(
        lambda path: path.write_text(json.dumps(to_json(tiny.diffusion()))), described, json_bytes
    ),
    "ref.npz": Format(reference, of_reference, exact=True, often=0.3),
    "edited ref.npz": Format(reference, of_reference, formats.npz),
    "samples.json": Format(sampled, opened_samples, json_bytes),
    "samples.npz": Format(sampled, opened_samples, formats.npz),
    "report.json": Format(reported, lambda path: load_report(path).to_json(), json_bytes),
}


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_in_a_line_or_harmless(tmp_path: Path, name: str) -> None:
    form, path, seeds = FORMATS[name], tmp_path / name, range(25)
    form.write(path)
    content, whole = path.read_bytes(), form.read(path)
    refused = 0
    measured = name in {**ARRAYS, **ARCHIVES}
    if measured:
        tracemalloc.start()
    for seed in seeds:
        path.write_bytes(form.mutate(Random(f"{name} {seed}"), content))
        found: list[object] = []
        if refusal(lambda: found.append(form.read(path))) is not None:  # noqa: B023, called here
            refused += 1
        else:
            assert not form.exact or found == [whole], seed
    if measured:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < MOST_MEMORY
    assert refused >= form.often * len(seeds)


LEVELS = np.random.default_rng(0).normal(128, 50, (30, 40, 1)).clip(0, 255).astype(np.uint8)
NOISE = Image.fromarray(LEVELS.repeat(3, axis=2))
EXIF = Image.Exif()
EXIF[0x0112] = 6
MORE = {"save_all": True, "append_images": [NOISE.rotate(90)] * 2}


def encoded(picture: Image.Image, form: str, **how: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **how)
    return stream.getvalue()


ENCODED = {
    "png": encoded(NOISE, "PNG"),
    "palette.png": encoded(NOISE.convert("P"), "PNG", transparency=bytes(range(99)), exif=EXIF),
    "16 bits.png": encoded(Image.new("I;16", (40, 30), 999), "PNG"),
    "jpg": encoded(NOISE, "JPEG"),
    "progressive.jpg": encoded(NOISE, "JPEG", progressive=True, exif=EXIF),
    "cmyk.jpg": encoded(NOISE.convert("CMYK"), "JPEG"),
    "webp": encoded(NOISE, "WEBP"),
    "animated.webp": encoded(NOISE, "WEBP", **MORE),
    "gif": encoded(NOISE, "GIF"),
    "animated.gif": encoded(NOISE, "GIF", **MORE),
    "bmp": encoded(NOISE, "BMP"),
    "tif": encoded(NOISE, "TIFF"),
    "lzw.tif": encoded(NOISE, "TIFF", compression="tiff_lzw"),
    "jpeg.tif": encoded(NOISE, "TIFF", compression="jpeg"),
    "deflated.tif": encoded(NOISE.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_damaged_images_are_corrupt(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "set" / f"1.{kind.rpartition('.')[2]}"
    path.parent.mkdir()
    path.write_bytes(ENCODED[kind])
    assert refusal(lambda: small(path.parent)) is None
    refused = 0
    for seed in range(20):
        path.write_bytes(damaged(Random(seed), ENCODED[kind]))
        channels = (1, 3, 4)[seed % 3]
        text = refusal(lambda: pixels(path.parent, size=(8, 8), channels=channels))  # noqa: B023
        refused += text is not None
        assert text is None or str(path) in text
        with ends_within():
            assert len(inspect(find(str(path.parent))).broken) == (text is not None)
    assert refused > 3
