"""File that would run code, or write a file elsewhere -> neither happens."""

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from abuse.kinds import FEW, Case, Words
from abuse.material import CPU, POOL, Material

CANARY = "canary"
MODULE = f"""from pathlib import Path

Path({CANARY!r}).touch()


def look(images):
    return images.float().flatten(1)[:, :16]
"""


class Sings:
    """A pickle of this writes the canary file when it is opened."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(CANARY),))


Trap = Callable[[Path, Material], Words]


def _named(spec: str) -> Trap:
    """A reference whose features are a module beside it."""

    def trap(folder: Path, material: Material) -> Words:
        for name in ("ref.npz", "other.npz"):
            material.put(name, folder)
        (folder / "weights.py").write_text(MODULE)
        arrays = dict(np.load(folder / "ref.npz", allow_pickle=False))
        metadata = json.loads(arrays["adm"].item()) | {"features": spec}
        np.savez(folder / "ref.npz", **arrays | {"adm": np.array([json.dumps(metadata)])})
        return ("evaluate", "other.npz", "--reference", "ref.npz", "--resamples", 10, *CPU)

    return trap


def _pickled(name: str, words: Words, how: str) -> Trap:
    """A pickle under the name of a model."""

    def trap(folder: Path, material: Material) -> Words:
        for each in ("data.npz", "one.json"):
            material.put(each, folder)
        path = folder / name
        if how == "plain":
            path.write_bytes(pickle.dumps(Sings()))
        elif how == "object array":
            np.savez(path, arr_0=np.array([Sings()], dtype=object))
        elif how == "object npy":
            np.save(path, np.array([Sings()], dtype=object), allow_pickle=True)
        else:
            torch.save({"w": Sings()}, path, _use_new_zipfile_serialization=how == "zip")
        return words

    return trap


def _tar(name: str, link: str | None = None) -> Callable[[Path, dict[str, bytes]], None]:
    def write(path: Path, images: dict[str, bytes]) -> None:
        with tarfile.open(path, "w") as archive:
            for each, content in images.items():
                info = tarfile.TarInfo(each)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            info = tarfile.TarInfo(name)
            content = b"" if link else next(iter(images.values()))
            info.size = len(content)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info, io.BytesIO(content))

    return write


def _zip(name: str) -> Callable[[Path, dict[str, bytes]], None]:
    def write(path: Path, images: dict[str, bytes]) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for each, content in images.items():
                archive.writestr(each, content)
            archive.writestr(name, next(iter(images.values())))

    return write


def _archived(suffix: str, write: Callable[[Path, dict[str, bytes]], None], words: Words) -> Trap:
    """An archive with a name or a link that leads elsewhere."""

    def trap(folder: Path, material: Material) -> Words:
        root = material.root / "pictures"
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        write(folder / f"bad.{suffix}", {str(p.relative_to(root)): p.read_bytes() for p in paths})
        for each in ("one.json", "feats.py"):
            material.put(each, folder)
        return words

    return trap


def _metadata(field: str) -> Trap:
    """A model whose metadata name a module in place of a name or a path."""

    def trap(folder: Path, material: Material) -> Words:
        import tiny

        from adm.spec import to_json
        from adm.training import model_file

        (folder / "weights.py").write_text(MODULE)
        path = material.put("model.safetensors", folder)
        weights, _ = model_file.load_model(path)
        described = {"recipe": to_json(tiny.diffusion()), "classes": list(tiny.CLASSES)}
        described |= {"data": "weights:look", "step": 0, field: "weights:look"}
        model_file.save_model(path, weights, described)
        return ("sample", "model.safetensors", "--out", "out", *FEW)

    return trap


MODELS = (
    ("m.pt", "zip"),
    ("m.pt", "legacy"),
    ("m.pt", "plain"),
    ("m.pth", "zip"),
    ("m.bin", "plain"),
    ("m.safetensors", "plain"),
    ("m.safetensors", "zip"),
)
PICKLES = [
    (name, words, how)
    for name, how in MODELS
    for words in (
        ("info", name),
        ("sample", name, "--out", "out", *FEW),
        ("train", "one.json", "--data", "data.npz", "--pretrained", name, "--out", "out", *CPU),
        ("reference", "data.npz", "--features", name, "--out", "made.npz", *CPU),
    )
] + [
    (name, words, how)
    for name, how in (("a.npz", "object array"), ("a.npy", "object npy"), ("a.npz", "plain"))
    for words in (
        ("data", "inspect", name),
        ("evaluate", "data.npz", "--reference", name, "--resamples", 10, *CPU),
        ("train", "one.json", "--data", name, "--out", "out", *CPU),
    )
]
WRITERS = (
    ("tar", _tar("../canary.png")),
    ("tar", _tar("/tmp/adm-canary.png")),
    ("tar", _tar("cat/canary-link.png", "/etc/passwd")),
    ("tar", _tar("cat/link", "..")),
    ("zip", _zip("../canary.png")),
    ("zip", _zip("/tmp/adm-canary.png")),
    ("zip", _zip("..\\canary.png")),
)
TRAPS: list[Trap] = [
    *map(_named, ("weights:look", "weights.py:look", "./weights.py:look", "os:getcwd", "m.pt")),
    *(_pickled(*each) for each in PICKLES),
    *map(_metadata, ("data", "start", "name", "step", "weights", "features", "generator")),
    *(
        _archived(suffix, write, words)
        for suffix, write in WRITERS
        for words in (
            ("data", "inspect", f"bad.{suffix}", "--labels", "none"),
            ("data", "pack", f"bad.{suffix}", "--out", "packed", "--format", "original"),
            ("train", "one.json", "--data", f"bad.{suffix}", "--out", "out", *CPU),
            ("reference", f"bad.{suffix}", "--out", "made.npz", *POOL, *CPU),
        )
    ),
]
OUTPUTS = ("out", "packed", "made.npz")


def code(random: Random, folder: Path, material: Material) -> Case:
    """A file that would run code or write elsewhere: a canary outside of the outputs."""
    return Case(random.choice(TRAPS)(folder, material), OUTPUTS)
