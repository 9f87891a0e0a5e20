"""Random, folder -> Case: damaged files of one kind, and a command that reads them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from abuse import formats
from abuse.material import CPU, POOL, SAMPLE, TRAIN, Material
from mutations import as_text, damaged, json_bytes, nasty, places

Words = tuple[object, ...]


@dataclass(frozen=True)
class Case:
    """A command in a folder with damaged files.

    Attributes:
        words: the arguments of adm.
        outputs: files and folders that the command may write.
        same_as: (path of the case, path of the material that it must equal if the command
            succeeds), where a hash reveals damage.
        unread: parts of it that the command does not read, and need not repair.
        unchanged: whether a refusal must leave every file as it was.
    """

    words: Words
    outputs: tuple[str, ...] = ()
    same_as: tuple[str, str] | None = None
    unread: tuple[str, ...] = ()
    unchanged: bool = False


Kind = Callable[[Random, Path, Material], Case]
FEW = ("--count", 2, "--steps", 2, *CPU)
EVALUATE = ("--resamples", 10, *POOL, *CPU)


def damage(path: Path, mutator: Callable[[Random, bytes], bytes], random: Random) -> None:
    """Damage a file in place."""
    path.write_bytes(mutator(random, path.read_bytes()))


def model(random: Random, folder: Path, material: Material) -> Case:
    """A model file: its length, header, metadata, weights."""
    name, others = random.choice(
        (
            ("model", ("info", "info --json", "sample", "sample", "pretrained")),
            ("guide", ("info", "guided", "features")),
            ("judge", ("info", "features")),
            ("upsampler", ("info", "upsample")),
        )
    )
    file, how = f"{name}.safetensors", random.choice(others)
    damage(material.put(file, folder), formats.safetensors, random)
    if how.startswith("info"):
        return Case((*how.split(), file))
    if how == "sample":
        return Case(("sample", file, "--out", "out", *FEW), ("out",))
    if how == "guided":
        material.put("model.safetensors", folder)
        guide = ("--classifier", file, "--scale", 1)
        return Case(("sample", "model.safetensors", *guide, "--out", "out", *FEW), ("out",))
    if how == "upsample":
        images = np.zeros((2, 4, 4, 1), np.uint8)
        np.savez(folder / "small.npz", arr_0=images)
        words = ("sample", file, "--condition", "small.npz", "--out", "out", "--steps", 2)
        return Case((*words, *CPU), ("out",))
    material.put("data.npz", folder)
    if how == "features":
        words = ("reference", "data.npz", "--features", file, "--out", "ref.npz", *CPU)
        return Case(words, ("ref.npz",))
    material.put("one.json", folder)
    words = ("train", "one.json", "--data", "data.npz", "--pretrained", file, "--out", "out")
    return Case((*words, *CPU), ("out",))


def released(random: Random, folder: Path, material: Material) -> Case:
    """A released file, of either format of torch.save."""
    file = random.choice(("released.pt", "legacy.pt"))
    mutator = formats.zip_file if random.random() < 0.3 and file == "released.pt" else None
    damage(material.put(file, folder), mutator or damaged, random)
    words = random.choice((("info", file), ("sample", file, "--out", "out", *FEW)))
    return Case(words, ("out",))


def run(random: Random, folder: Path, material: Material) -> Case:
    """A run folder: one part damaged, missing, swapped or added; then resumed or read."""
    place = material.put("stopped/run", folder, "run")
    for name in ("recipe.json", "data.npz"):
        material.put(name, folder)
    parts = sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    targets = [path for path in parts if path.suffix != ".png"]
    part, how = random.choice(targets), random.random()
    if how < 0.7:
        damage(part, _mutator(part), random)
    elif how < 0.8:
        part.unlink()
    elif how < 0.9:
        other = random.choice(targets).read_bytes()
        part.write_bytes(other)
    else:
        _strange(part, random)
    train = ("train", "recipe.json", "--data", "data.npz", "--out", "run", *TRAIN)
    words = random.choice(
        (
            train,
            train,
            train,
            ("info", "run"),
            ("sample", "run", "--out", "out", *FEW),
        )
    )
    resumed = ("run", "whole/run") if words is train else None
    name = str(part.relative_to(place))
    unread: tuple[str, ...] = ()
    if name == "log.jsonl":  # is reported as changed; nothing could restore it
        unread = (name, "progress.png", "state.json", "SHA256SUMS")
    return Case(words, ("run", "out"), resumed, unread)


def _mutator(path: Path) -> Callable[[Random, bytes], bytes]:
    kinds = {".json": json_bytes, ".safetensors": formats.safetensors}
    return kinds.get(path.suffix, damaged)


def _strange(path: Path, random: Random) -> None:
    """Replace a file by a folder, or by a link to elsewhere, itself or a device."""
    path.unlink()
    how = random.randrange(4)
    if how == 0:
        path.mkdir()
    elif how == 1:
        path.symlink_to("../../canary")
    elif how == 2:
        path.symlink_to(path.name)
    else:
        path.symlink_to("/dev/null")


def reference(random: Random, folder: Path, material: Material) -> Case:
    """A reference .npz, which samples are scored against."""
    for name in ("other.npz", "feats.py"):
        material.put(name, folder)
    damage(material.put("ref.npz", folder), formats.npz, random)
    words = ("evaluate", "other.npz", "--reference", "ref.npz", "--resamples", 10, *CPU)
    how = random.random()
    if how < 0.6:
        return Case((*words, *POOL))
    if how < 0.8:
        return Case((*words, *POOL, "--out", "report.json", "--json"), ("report.json",))
    return Case(words)  # with the features that the file names


def samples(random: Random, folder: Path, material: Material) -> Case:
    """A sample folder: its manifest, archive or an image damaged; then finished, scored or read."""
    place = material.put("samples", folder)
    for name in ("model.safetensors", "data.npz", "feats.py"):
        material.put(name, folder)
    part = random.choice([*place.iterdir(), *([place / "samples.json"] * 3)])
    how = random.random()
    if how < 0.8:
        kinds = {".json": json_bytes, ".npz": formats.npz}
        damage(part, kinds.get(part.suffix, damaged), random)
    elif how < 0.9:
        part.unlink()
    else:
        _strange(part, random)
    again = ("sample", "model.safetensors", "--out", "samples", *SAMPLE)
    words = random.choice(
        (
            again,
            again,
            ("evaluate", "samples", "--reference", "data.npz", *EVALUATE),
            ("nearest", "samples", "data.npz", *POOL, *CPU),
            ("data", "inspect", "samples", "--labels", "none"),
        )
    )
    outputs = ("nearest.png", *(("samples",) if words is again else ()))
    # A finished folder is done if its images and its manifest are whole; pictures are not read.
    same = ("samples", "samples") if words is again else None
    return Case(words, outputs, same, unread=("*.png", "SHA256SUMS"))


def _reading(random: Random, spec: str, folder: Path, material: Material) -> Case:
    """Read data by one of the verbs that read data."""
    recipe = "single.json" if spec.endswith(".npy") else "one.json"  # an array has no classes
    for name in ("feats.py", recipe, "data.npz"):
        if not (folder / name).exists():
            material.put(name, folder)
    size = ("--size", 8, "--channels", 1)
    words, *outputs = random.choice(
        (
            (("data", "inspect", spec),),
            (("data", "inspect", spec, "--json", "--out", "data.html"), "data.html"),
            (("data", "pack", spec, "--out", "packed", *size), "packed"),
            (("data", "pack", spec, "--out", "packed"), "packed"),
            (("reference", spec, "--out", "made.npz", *size, *POOL, *CPU), "made.npz"),
            (("train", recipe, "--data", spec, "--out", "out", *CPU), "out"),
            (("evaluate", spec, "--reference", "data.npz", *size, *EVALUATE),),
            (("nearest", spec, "data.npz", *size, *POOL, *CPU), "nearest.png"),
        )
    )
    return Case(words, tuple(outputs))


def arrays(random: Random, folder: Path, material: Material) -> Case:
    """Images as .npz or .npy."""
    name = random.choice(("data.npz", "data.npz", "data.npy"))
    target = material.put(name, folder, f"bad{Path(name).suffix}")
    damage(target, formats.npz if name.endswith("z") else formats.npy, random)
    return _reading(random, target.name, folder, material)


def archives(random: Random, folder: Path, material: Material) -> Case:
    """Images in a zip or tar archive, or in WebDataset shards."""
    how = random.choice(("pictures.zip", "pictures.tar", "shards"))
    target = material.put(how, folder)
    if how == "shards":
        damage(random.choice(sorted(target.glob("*.tar"))), formats.tar_file, random)
    else:
        damage(target, formats.zip_file if how.endswith("zip") else formats.tar_file, random)
    return _reading(random, how, folder, material)


def images(random: Random, folder: Path, material: Material) -> Case:
    """A folder of image files, one of which is damaged, or of an unusual size or mode."""
    place = material.put("pictures", folder)
    chosen = random.choice(sorted(path for path in place.rglob("*") if path.is_file()))
    content = chosen.read_bytes()
    if random.random() < 0.65:
        chosen.write_bytes(damaged(random, content))
    elif random.random() < 0.5:
        chosen.write_bytes(formats.huge(chosen.suffix, content, random))
    else:
        chosen.with_suffix(".png").write_bytes(formats.unusual(random))
    return _reading(random, "pictures", folder, material)


def lists(random: Random, folder: Path, material: Material) -> Case:
    """Lists of labels beside images, and the metadata of a folder of shards."""
    name = random.choice(
        ("labels.csv", "labels.json", "dataset.json", "classes.json", "train.json")
    )
    if name in ("classes.json", "train.json"):
        shards = material.put("shards", folder)
        material.put("pictures", folder)
        damage(shards / name, json_bytes, random)
        if random.random() < 0.5:
            words = ("data", "pack", "pictures", "--out", "shards", "--shard-size", 4, "--size", 8)
            return Case(words, ("shards",), ("shards", "shards"))
        return _reading(random, "shards", folder, material)
    material.put("pictures", folder)
    damage(
        material.put(name, folder),
        formats.csv_text if name.endswith("csv") else json_bytes,
        random,
    )
    if name == "dataset.json":
        shutil.move(folder / name, folder / "pictures" / name)
        return _reading(random, "pictures", folder, material)
    verb = random.choice((("inspect",), ("pack", "--out", "packed")))
    words = ("data", verb[0], "pictures", "--labels", name, *verb[1:])
    return Case(words, ("packed",))


def settings(random: Random, folder: Path, material: Material) -> Case:
    """A recipe file, or fields of a recipe on the command line."""
    path = material.put(random.choice(("one.json", "guide.json")), folder)
    if random.random() < 0.6:
        damage(path, json_bytes, random)
        words = random.choice(
            (("recipes", path.name), ("train", path.name, "--out", "out", "--dry-run"))
        )
        return Case(words)
    fields = [each for each in places(json.loads(path.read_text())) if each]
    field = ".".join(map(str, random.choice(fields)))
    value = nasty(random)
    text = value if isinstance(value, str) else as_text(value).decode("utf-8", "replace")
    setting = random.choice((f"{field}={text}", f"{field}.x={text}", field, f"={text}"))
    setting = setting.replace("\x00", "?")[:50_000]
    return Case(("train", path.name, "--out", "out", "--dry-run", "--set", setting))
