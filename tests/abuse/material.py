"""folder -> the undamaged files that the cases start from: one or more of each format."""

import csv
import gc
import importlib
import io
import json
import os
import pkgutil
import shutil
import signal
import struct
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import tiny
import torch
from abuse import child
from PIL import Image

import adm as package
from adm.networks import on_meta
from adm.spec import to_json
from adm.store.arrays import write_npz

FEATURES = '''"""uint8 (B, C, H, W) -> (B, 16)."""

import torch


def pool(images):
    grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 4)
    return grid.flatten(1)
'''
POOL = ("--features", "feats.py:pool")
CPU = ("--device", "cpu")
FAST = ("watch.images=0", "watch.every_steps=2", "watch.validation_images=6")
RUN = (
    "train.steps=6",
    "train.save_every_steps=2",
    "train.ema_others=0.9",
    *FAST,
)
ONE = ("train.steps=1", *FAST)
SAMPLE = ("--count", 4, "--steps", 2, *CPU)
TRAIN = ("--hold-out", "0.2", *CPU)
NAMES = ("cat", "dog", "owl")
LAZY = (
    "encodings.cp437",
    "matplotlib.backends.backend_agg",
    "numpy.ctypeslib",
    "numpy.fft",
    "numpy.random",
    "torch.profiler",
)


@dataclass(frozen=True)
class Material:
    """The folder of undamaged files; `root / name` is a file or folder named as below."""

    root: Path

    def put(self, name: str, folder: Path, under: str | None = None) -> Path:
        """Copy a file or folder of the material into the folder of a case."""
        source, target = self.root / name, folder / (under or name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)
        return target


def adm(words: Sequence[object], cwd: Path) -> None:
    """Run the program in this process, in a folder with its own cache."""
    from adm.app.cli import program

    sys.dont_write_bytecode = True  # of the features, beside them
    os.chdir(cwd)
    os.environ |= {"XDG_CACHE_HOME": str(cwd / "cache"), "HOME": str(cwd / "home")}
    sys.argv = ["adm", *map(str, words)]
    program()


def warm() -> None:
    """Import all that the verbs import, much of which torch imports on first use.

    Raises:
        RuntimeError: an import has started a thread, which the children would lack.
    """
    matplotlib.use("agg")
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(package.__path__, "adm."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LAZY:
        importlib.import_module(name)
    Image.init()
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    on_meta(tiny.diffusion().config)
    on_meta(tiny.classifier().config)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("the process that is to fork has threads")
    gc.collect()
    gc.freeze()


def make(root: Path) -> Material:
    """Write the material, each part in a child."""
    root.mkdir(parents=True)
    material = Material(root)
    for part in (models, files, write_pictures, _archives, _lists):
        _done(child.run(lambda part=part: part(root), root.parent / "logs"))
    for name in ("recipe.json", "data.npz"):  # both runs have one name, which their pictures show
        for place in ("whole", "stopped"):
            material.put(name, root / place)
    for words in (
        ("sample", "model.safetensors", "--out", "samples", *SAMPLE),
        ("reference", "data.npz", "--out", "ref.npz", *POOL, *CPU),
        ("data", "pack", "pictures", "--out", "shards", "--shard-size", 4, "--size", 8),
    ):
        _done(child.run(lambda words=words: adm(("-q", *words), root), root.parent / "logs"))
    run = ("-q", "train", "recipe.json", "--data", "data.npz", "--out", "run", *TRAIN)
    _done(child.run(lambda: adm(run, root / "whole"), root.parent / "logs"))
    _stopped(root, run)
    shutil.rmtree(root / "cache", ignore_errors=True)
    return material


def _done(outcome: child.Outcome) -> None:
    if outcome.status:
        raise RuntimeError(f"the material cannot be made: {outcome.err}")


def _stopped(root: Path, run: Sequence[object]) -> None:
    """Train a run that is killed after its second checkpoint."""

    def killed() -> None:
        _kill_at_checkpoint(2)
        adm(run, root / "stopped")

    outcome = child.run(killed, root.parent / "logs")
    if outcome.status != -signal.SIGKILL:
        raise RuntimeError(f"the run was not killed: {outcome.err}")


def _kill_at_checkpoint(number: int) -> None:
    """Kill this process after `number` checkpoints have got their names."""
    from adm.training import checkpoint

    real, saves = checkpoint.save, []

    def save(*args, **kwargs):  # type: ignore[no-untyped-def]
        saved = real(*args, **kwargs)
        saves.append(saved)
        if len(saves) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return saved

    checkpoint.save = save


def models(root: Path) -> None:
    """Write a small model of each kind, and released files."""
    tiny.model(root / "model.safetensors", tiny.diffusion())
    tiny.model(root / "guide.safetensors", tiny.classifier())
    tiny.model(root / "judge.safetensors", tiny.classifier("noised=false"))
    tiny.model(root / "upsampler.safetensors", tiny.upsampler())
    larger = tiny.upsampler("data.size=16,16", "data.low_res=8,8")
    tiny.model(root / "larger.safetensors", larger)
    tensors = {"time_embed.0.weight": torch.zeros(4, 4), "out.0.bias": torch.ones(4)}
    torch.save(tensors, root / "released.pt")
    torch.save(tensors, root / "legacy.pt", _use_new_zipfile_serialization=False)


def files(root: Path) -> None:
    """Write features, recipes and arrays of images."""
    (root / "feats.py").write_text(FEATURES)
    (root / "recipe.json").write_text(json.dumps(to_json(tiny.diffusion(*RUN))))
    (root / "one.json").write_text(json.dumps(to_json(tiny.diffusion(*ONE))))
    single = tiny.diffusion(*ONE, "unet.classes=1")
    (root / "single.json").write_text(json.dumps(to_json(single)))
    (root / "guide.json").write_text(json.dumps(to_json(tiny.classifier(*ONE))))
    images, labels = tiny.stripes().batch(range(30))
    arrays = images.permute(0, 2, 3, 1).numpy()
    entries = {"arr_0": arrays, "arr_1": labels.numpy(), "classes": np.array(tiny.CLASSES)}
    write_npz(root / "data.npz", entries)
    np.save(root / "data.npy", arrays)
    (root / "idx").mkdir()
    for name, array in (("images-idx3", arrays[..., 0]), ("labels-idx1", labels.numpy())):
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        content = head + array.astype(np.uint8).tobytes()
        (root / "idx" / f"train-{name}-ubyte").write_bytes(content)
    write_npz(root / "other.npz", {"arr_0": 255 - arrays, "arr_1": labels.numpy()})


def pictures() -> dict[str, bytes]:
    """Return small colour images of three classes, by path, in many formats."""
    random, contents = np.random.Generator(np.random.Philox(7)), {}
    for k, name in enumerate(NAMES):
        for i, kind in enumerate(("png", "jpeg", "webp", "gif", "tiff")):
            pixels = random.integers(0, 90, (8, 8, 3)).astype(np.uint8) + 60 * k
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, kind)
            contents[f"{name}/{i}.{kind.replace('jpeg', 'jpg')}"] = stream.getvalue()
    return contents


def write_pictures(root: Path) -> None:
    """Write the images of `pictures` into a folder."""
    for name, content in pictures().items():
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _archives(root: Path) -> None:
    with (
        zipfile.ZipFile(root / "pictures.zip", "w") as packed,
        tarfile.open(root / "pictures.tar", "w") as rolled,
    ):
        for name, content in pictures().items():
            packed.writestr(name, content)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            rolled.addfile(info, io.BytesIO(content))


def _lists(root: Path) -> None:
    pairs = [(name, name.partition("/")[0]) for name in pictures()]
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *pairs])
    (root / "labels.json").write_text(json.dumps(dict(pairs)))
    numbers = [[name, NAMES.index(label)] for name, label in pairs]
    (root / "dataset.json").write_text(json.dumps({"labels": numbers}))
