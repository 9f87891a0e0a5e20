"""models, settings, labels -> a folder of images that says how it was made; resumable."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adm import generate
from adm.data.export import new_folder, save_images, write_npz
from adm.generate import SamplingSettings
from adm.recipes.model import ClassifierModel, DiffusionModel

MANIFEST = "samples.json"


@dataclass(frozen=True)
class SampleRun:
    """One call's worth of samples.

    Attributes:
        labels: one an image, or None for a model without classes.
        count: number of images.
    """

    model: DiffusionModel
    guide: ClassifierModel | None
    settings: SamplingSettings
    labels: list[int] | None
    count: int

    def manifest(self) -> dict[str, Any]:
        """Everything that the images follow from."""
        return {
            "model": _identity(self.model),
            "classifier": _identity(self.guide) if self.guide and self.settings.scale else None,
            "settings": asdict(self.settings),
            "count": self.count,
            "labels": self.labels,
            "classes": list(self.model.classes),
        }


def sample_into(
    out: Path,
    run: SampleRun,
    *,
    batch_size: int = 64,
    on_step: Callable[[int], None] | None = None,
    replace: bool = False,
) -> Tensor:
    """Sample into a folder, which appears whole or not at all.

    Batches are kept beside it until then, so that the same call after an interruption goes on
    where it was.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        ValueError: settings that the model cannot be sampled with.
        FileExistsError: `out` holds something else, and is not to be replaced.
    """
    generate.check(run.settings, run.model, run.guide)
    if out.exists() and not replace and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} already holds something; choose another --out")
    part = out.with_name(f".{out.name}.part")
    manifest = run.manifest() | {"batch_size": batch_size}
    _claim(part, manifest)
    chunks = [
        _batch(part, run, list(range(s, min(s + batch_size, run.count))), on_step)
        for s in range(0, run.count, batch_size)
    ]
    images = torch.cat(chunks)
    labels = None if run.labels is None else torch.tensor(run.labels)
    with new_folder(out, replace) as folder:
        save_images(folder, images, labels, run.model.classes, run.settings.seed)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    shutil.rmtree(part)
    return images


def _claim(part: Path, manifest: dict[str, Any]) -> None:
    """Make the folder of finished batches this run's; another run's leftovers go."""
    path = part / MANIFEST
    if path.exists() and json.loads(path.read_text()) == json.loads(json.dumps(manifest)):
        return
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    path.write_text(json.dumps(manifest))


def _batch(
    part: Path, run: SampleRun, indices: Sequence[int], on_step: Callable[[int], None] | None
) -> Tensor:
    path = part / f"{indices[0]:08d}.npz"
    if path.exists():
        if on_step is not None:
            on_step(len(indices) * run.settings.steps)
        with np.load(path, allow_pickle=False) as stored:
            return torch.from_numpy(stored["images"])
    labels = None if run.labels is None else torch.tensor([run.labels[i] for i in indices])
    (images,) = generate.generate(
        run.model,
        labels,
        run.settings,
        run.guide,
        images=indices,
        batch_size=len(indices),
        on_step=on_step,
    )
    fresh = path.with_suffix(".part")
    write_npz(fresh, {"images": images.numpy()})
    fresh.rename(path)
    return images


def _identity(model: DiffusionModel | ClassifierModel) -> dict[str, Any]:
    digest = hashlib.sha256(model.path.read_bytes()).hexdigest()
    return {
        "recipe": model.recipe.name,
        "file": model.path.name,
        "sha256": digest,
        "trained_steps": model.trained_steps,
    }
