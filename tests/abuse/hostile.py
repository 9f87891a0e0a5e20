"""Random, folder -> Case: large files, states of checkpoints, commands that are to be refused."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from abuse.kinds import EVALUATE, FEW, Case, damage
from abuse.material import CPU, POOL, SAMPLE, TRAIN, Material
from mutations import damaged
from safetensors.torch import load_file, save_file

from adm.store.hashes import seal
from adm.training.checkpoint import latest

SIZES = ((1 << 20) - 100, 1 << 21, 1 << 26)  # within the limit of settings, above it, above most
RESUME = ("train", "recipe.json", "--data", "data.npz", "--out", "run", *TRAIN)
# File, other inputs of its command, its arguments, its outputs.
READERS: tuple[tuple[str, tuple[str, ...], tuple[object, ...], tuple[str, ...]], ...] = (
    ("samples/samples.json", ("data.npz", "feats.py"), ("evaluate", "samples", "--reference",
        "data.npz", *EVALUATE), ()),
    ("samples/samples.json", ("model.safetensors",), ("sample", "model.safetensors", "--out",
        "samples", *SAMPLE), ("samples",)),
    ("samples/SHA256SUMS", ("model.safetensors",), ("sample", "model.safetensors", "--out",
        "samples", *SAMPLE), ("samples",)),
    ("run/run.json", ("recipe.json", "data.npz"), RESUME, ("run",)),
    ("run/data.json", ("recipe.json", "data.npz"), RESUME, ("run",)),
    ("run/state.json", ("recipe.json", "data.npz"), RESUME, ("run",)),
    ("run/state.json", (), ("info", "run"), ()),
    ("run/log.jsonl", ("recipe.json", "data.npz"), RESUME, ("run",)),
    ("model.frontier.json", ("model.safetensors",), ("sample", "model.safetensors", "--budget",
        "50ms", "--out", "out", *CPU), ("out",)),
    ("model.grids.json", ("model.safetensors",), ("info", "model.safetensors"), ()),
    ("l.json", ("data.npz", "feats.py"), ("cluster", "data.npz", "--clusters", 3, "--out", "l.csv",
        *POOL, *CPU), ("l.csv", "l.json")),
    ("list.csv", ("pictures",), ("data", "inspect", "pictures", "--labels", "list.csv"), ()),
    ("list.json", ("pictures",), ("data", "inspect", "pictures", "--labels", "list.json"), ()),
    ("pictures/dataset.json", (), ("data", "inspect", "pictures"), ()),
    ("shards/classes.json", (), ("data", "inspect", "shards"), ()),
    ("one.json", (), ("recipes", "one.json"), ()),
    ("one.json", (), ("train", "one.json", "--out", "out", "--dry-run"), ()),
)  # fmt: skip


def _many(unit: bytes, before: bytes = b"[", after: bytes = b"]") -> Callable[[int], bytes]:
    return lambda size: before + b",".join([unit] * (size // (len(unit) + 1))) + after


def _keys(width: int) -> Callable[[int], bytes]:
    def content(size: int) -> bytes:
        pairs = (b'"%0*d":1' % (width, number) for number in range(size // (width + 5)))
        return b"{" + b",".join(pairs) + b"}"

    return content


HUGE: tuple[Callable[[int], bytes], ...] = (
    lambda size: b"[" * size,
    lambda size: b'{"a":' * (size // 5),
    lambda size: b'"' + "\U0001f600".encode() + b"a" * size + b'"',
    lambda size: b"9" * size,
    lambda size: b"\n" * size,
    *map(_many, (b"[]", b"{}", b'{"a":1}', b"300", b"-1", b"1e9", b'"ab"', b"[[[[[[[[]]]]]]]]")),
    *(_many(unit, b'{"labels":[', b"]}") for unit in (b"1000", b"[]", b'"a"', b"-1")),
    *(_many(unit, b'{"classes":[', b"]}") for unit in (b"1", b'"a"', b"{}")),
    *map(_keys, (8, 200, 5000)),
)


def sizes(random: Random, folder: Path, material: Material) -> Case:
    """A file of up to 64 MiB, of many small values or one large one, in place of another."""
    file, others, words, outputs = random.choice(READERS)
    place = file.partition("/")[0]
    if place in ("samples", "pictures", "shards"):
        material.put(place, folder)
    elif place == "run":
        material.put("stopped/run", folder, "run")
    for name in others:
        material.put(name, folder)
    path = folder / file
    if path.name == "state.json":
        path = _newest(folder) / path.name
    elif path.name == "samples.json":
        (path.parent / "SHA256SUMS").unlink()  # which would refuse it before it is read
    path.write_bytes(random.choice(HUGE)(random.choice(SIZES)))
    if path.name == "state.json":
        seal(path.parent)
    return Case(words, outputs)


def states(random: Random, folder: Path, material: Material) -> Case:
    """A checkpoint whose hashes are right, with an entry missing, exchanged, or of another type."""
    material.put("stopped/run", folder, "run")
    for name in ("recipe.json", "data.npz"):
        material.put(name, folder)
    checkpoint = _newest(folder)
    parts = [path for path in checkpoint.iterdir() if path.suffix in (".json", ".safetensors")]
    path = random.choice(sorted(parts))
    if path.suffix == ".json":
        entries = json.loads(path.read_text())
        _edit(random, entries, "text")
        path.write_text(json.dumps(entries))
    else:
        tensors = load_file(path)
        key = random.choice(sorted(tensors))
        other = tensors[key].to(torch.uint8 if tensors[key].is_floating_point() else torch.float16)
        _edit(random, tensors, other, key)
        header = path.read_bytes()
        length = int.from_bytes(header[:8], "little")
        metadata = json.loads(header[8 : 8 + length]).get("__metadata__")
        save_file({name: each.clone() for name, each in tensors.items()}, path, metadata)
    seal(checkpoint)
    return Case(RESUME, ("run",), ("run", "whole/run"))


def _newest(folder: Path) -> Path:
    return latest(folder / "run")


def _edit(random: Random, entries: dict[str, Any], other: Any, key: str | None = None) -> None:
    """Remove an entry, exchange it with one of another form, or change its type."""
    # Without a validation loss a run goes on as one that has measured none.
    key = key or random.choice([key for key in sorted(entries) if key != "validation"])
    forms = {name: getattr(each, "shape", type(each)) for name, each in entries.items()}
    unlike = [name for name in sorted(entries) if forms[name] != forms[key]]
    how = random.choice(("missing", "type", "exchanged"))
    if how == "missing" and key != "bad_steps":  # which is 0 by default
        del entries[key]
    elif how == "exchanged" and unlike:
        name = random.choice(unlike)
        entries[key], entries[name] = entries[name], entries[key]
    else:
        entries[key] = other


# Existing files, a command that is refused or does what it says, its outputs.
REFUSED: tuple[tuple[tuple[str, ...], tuple[object, ...], tuple[str, ...]], ...] = (
    (("run", "recipe.json", "data.npz"), (*RESUME, "--set", "train.batch_size=7"), ("run",)),
    (("run", "recipe.json", "other.npz"), (*RESUME, "--data", "other.npz"), ("run",)),
    (("run", "recipe.json", "data.npz"), (*RESUME[:-3], "0.4", *CPU), ("run",)),
    (("run", "pictures"), ("data", "pack", "pictures", "--out", "run", "--size", 8), ("run",)),
    (("shards", "pictures"), ("data", "pack", "pictures", "--out", "shards", "--size", 4),
        ("shards",)),
    (("pictures",), ("data", "pack", "pictures", "--out", "packed", "--size", 8),
        ("packed",)),
    (("samples", "model.safetensors"), ("sample", "model.safetensors", "--out", "samples", *FEW),
        ("samples",)),
    (("run", "model.safetensors"), ("sample", "model.safetensors", "--out", "run", *FEW), ("run",)),
    (("data.npz", "feats.py"), ("compare", "data.npz", "data.npz", "--split", "none", "--out",
        "out.html", *POOL, *CPU), ("out.html",)),
    (("model.safetensors", "model.grids.json"), ("grid", "model.safetensors", "--steps", 3, "--out",
        "nowhere", *CPU), ("model.grids.json", "nowhere")),
    (("pictures", "data.npz", "feats.py"), ("evaluate", "data.npz", "--reference", "data.npz",
        "--out", "pictures", *EVALUATE), ("pictures",)),
    (("pictures", "data.npz", "feats.py"), ("reference", "data.npz", "--out", "pictures", *POOL,
        *CPU), ("pictures",)),
)  # fmt: skip


def refusals(random: Random, folder: Path, material: Material) -> Case:
    """A command that is refused, in folders that it would write; half of them with damage."""
    names, words, outputs = random.choice(REFUSED)
    for name in names:
        if name == "model.grids.json":
            (folder / name).write_text("{")
        else:
            material.put("stopped/run" if name == "run" else name, folder, name)
    if random.random() < 0.5:
        place = folder / names[0]
        parts = sorted(path for path in place.rglob("*") if path.is_file()) or [place]
        damage(random.choice([path for path in parts if not path.is_symlink()]), damaged, random)
    return Case(words, outputs, unchanged=True)
