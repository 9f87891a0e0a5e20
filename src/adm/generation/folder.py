"""models, settings, labels -> a folder of images that says how it was made; resumable."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch
from torch import Tensor

from adm.data.export import ARCHIVE, new_folder, save_images, write_npz
from adm.data.pixels import MODES
from adm.generation import generate
from adm.generation.generate import SamplingSettings
from adm.models.load import ClassifierModel, DiffusionModel

MANIFEST = "samples.json"
BASE = "base"  # the folder of what an upsampler started from, where that was sampled too

OnStep = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class LowRes:
    """What an upsampler starts from.

    Attributes:
        images: (N, C, h, w) uint8.
        source: where they came from.
    """

    images: Tensor
    source: str

    def manifest(self) -> dict[str, Any]:
        shape = list(self.images.shape)
        pixels = self.images.contiguous().numpy().tobytes()
        return {"source": self.source, "shape": shape, "sha256": hashlib.sha256(pixels).hexdigest()}


@dataclass(frozen=True)
class SampleRun:
    """One call's worth of samples.

    Attributes:
        labels: one an image, or None for a model without classes.
        count: number of images.
        low_res: what an upsampler starts from: images, or a run that makes as many. None for any
            other model.
    """

    model: DiffusionModel
    guide: ClassifierModel | None
    settings: SamplingSettings
    labels: list[int] | None
    count: int
    low_res: Union[LowRes, "SampleRun", None] = None

    @property
    def evaluations(self) -> int:
        """Of networks, in all: an image takes one a step."""
        base = self.low_res.evaluations if isinstance(self.low_res, SampleRun) else 0
        return self.count * self.settings.steps + base

    def manifest(self) -> dict[str, Any]:
        """Everything that the images follow from."""
        return {
            "model": _identity(self.model),
            "classifier": _identity(self.guide) if self.guide and self.settings.scale else None,
            "settings": asdict(self.settings),
            "count": self.count,
            "labels": self.labels,
            "classes": list(self.model.classes),
            "low_res": None if self.low_res is None else self.low_res.manifest(),
        }

    def check(self) -> None:
        """Raise ValueError for what the model cannot be sampled with."""
        shape, count = None, self.count
        if isinstance(self.low_res, SampleRun):
            self.low_res.check()
            shape, count = self.low_res.model.shape, self.low_res.count
        elif self.low_res is not None:
            shape, count = self.low_res.images.shape[1:], len(self.low_res.images)
        generate.check(self.settings, self.model, self.guide, shape)
        if count != self.count:
            raise ValueError(
                f"{self.count} images are to be made from {count}; give one of each for each image"
            )


def sample_into(
    out: Path,
    run: SampleRun,
    *,
    batch_size: int = 64,
    on_step: OnStep | None = None,
    replace: bool = False,
) -> Tensor:
    """Sample into a folder, which appears whole or not at all.

    Batches are kept beside it until then, so that the same call after an interruption goes on
    where it was. Of a run that starts from another run's images, those lie in `base`. Images that
    a PNG file cannot hold, not of 1, 3 or 4 channels, are in the archive only.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        ValueError: settings that the model cannot be sampled with.
        FileExistsError: `out` holds something else, and is not to be replaced.
    """
    run.check()
    if out.exists() and not replace and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} already holds something; choose another --out")
    part = out.with_name(f".{out.name}.part")
    manifest = run.manifest()
    _claim(part, manifest | {"batch_size": batch_size})
    chain = _sampled(part, run, batch_size, on_step)
    with new_folder(out, replace) as folder:
        place, described = folder, manifest
        for link, images in chain:
            _save(place, link, images, described | {"batch_size": batch_size})
            place, described = place / BASE, described["low_res"]
    shutil.rmtree(part)
    return chain[0][1]


def _sampled(
    part: Path, run: SampleRun, batch_size: int, on_step: OnStep | None
) -> list[tuple[SampleRun, Tensor]]:
    """The run with its images, then the run that it started from with its, and so on."""
    before: list[tuple[SampleRun, Tensor]] = []
    low_res = None
    if isinstance(run.low_res, SampleRun):
        before = _sampled(part / BASE, run.low_res, batch_size, on_step)
        low_res = before[0][1]
    elif run.low_res is not None:
        low_res = run.low_res.images
    part.mkdir(exist_ok=True)
    chunks = [
        _batch(part, run, list(range(s, min(s + batch_size, run.count))), low_res, on_step)
        for s in range(0, run.count, batch_size)
    ]
    return [(run, torch.cat(chunks)), *before]


def _save(folder: Path, run: SampleRun, images: Tensor, manifest: dict[str, Any]) -> None:
    """Write PNG files where they can hold the images, the archive and the manifest of one run."""
    labels = None if run.labels is None else torch.tensor(run.labels)
    if images.shape[1] in MODES:
        save_images(folder, images, labels, run.model.classes, run.settings.seed)
    else:
        folder.mkdir(exist_ok=True)
        arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy()}
        arrays |= {} if labels is None else {"arr_1": labels.numpy()}
        write_npz(folder / ARCHIVE, arrays)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def _claim(part: Path, manifest: dict[str, Any]) -> None:
    """Make the folder of finished batches this run's; another run's leftovers go."""
    path = part / MANIFEST
    if _read(path) == json.loads(json.dumps(manifest)):
        return
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps(manifest))
    fresh.replace(path)


def _read(path: Path) -> Any:
    """What a call left in its folder of batches; None where there is nothing whole."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _batch(
    part: Path,
    run: SampleRun,
    indices: Sequence[int],
    low_res: Tensor | None,
    on_step: OnStep | None,
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
        low_res=None if low_res is None else low_res[list(indices)],
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
        "ema_decay": model.recipe.train.ema_decay,
    }
