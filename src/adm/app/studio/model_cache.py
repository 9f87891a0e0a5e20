"""Names of models, data specs -> ModelCache: pipelines, loaded once, and their training images."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adm.app.studio import pictures
from adm.app.studio.worker import Emit
from adm.data import NoSplit, Source, shuffle
from adm.features import Extracted, Features, open_features
from adm.features.contract import fingerprint_of, make_features
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline, load
from adm.images import to_uint8
from adm.metrics import nearest
from adm.models.description import describe
from adm.models.device import pick
from adm.models.paths import SHIPPED, resolve
from adm.models.trained import name_of
from adm.progress import displayed
from adm.recipes.schema import DataSettings, from_json
from adm.scoring import Extraction, FeatureSet, extract
from adm.scoring.images import images_for, relabelled
from adm.scoring.nearest import NEIGHBOURS, NONE, QUANTILE, equal_pixels, own_distances
from adm.shown import shown
from adm.spec import SettingError, literal, out_of_range, to_json
from adm.store.arrays import hashes_of
from adm.store.files import user_cache
from adm.training.model_file import metadata_of

MOST_LOADED = 4  # models in memory
FIRST = "fashion-unlabelled"  # of the shipped models: it shows best what guidance does
# The classifiers that guide in place of a model's own, whose classes are numbered clusters.
CLASSIFIERS = {FIRST: "fashion-classifier"}
JUDGE = "-judge"  # and of the classifier in whose features images are compared


@dataclass(frozen=True, eq=False)
class Training:
    """The training images of a model, with their features.

    Attributes:
        source: the images.
        features: the extractor.
        extracted: their features.
        threshold: distance below which an image is a likely copy; see `scoring.nearest`.
    """

    source: Source
    features: Features
    extracted: FeatureSet
    threshold: float

    def nearest(self, image: Tensor) -> dict[str, Any]:
        """Return the training images nearest to one, (C, H, W), as JSON values."""
        image = to_uint8(image)
        point = self.features.extract(image[None]).pool.numpy()
        matches = nearest(point, self.extracted.pool, min(NEIGHBOURS, self.extracted.count))
        indices, distances = matches.indices[0].tolist(), np.sqrt(matches.squared[0]).tolist()
        images, labels = self.source.batch(indices)
        copy = equal_pixels(hashes_of(image[None]), self.extracted.hashes)[0] != NONE
        names = self.source.classes
        return {
            "data": self.source.name,
            "features": self.features.name,
            "images": self.extracted.count,
            "threshold": self.threshold,
            "copy": bool(copy),
            "near": bool(copy or distances[0] < self.threshold),
            "nearest": [
                {
                    "png": pictures.exact(each),
                    "index": index,
                    "distance": distance,
                    "class": names[label] if len(names) > 1 else "",
                }
                for each, index, distance, label in zip(
                    images, indices, distances, labels.tolist(), strict=True
                )
            ],
        }


class ModelCache:
    """The models that a page may choose, by name, and nothing else.

    Args:
        models: names and paths, beside the shipped models; the first is chosen at the start.
        data: model -> spec of its training images, where the name in its recipe does not lead to
            them.
        device: of all models; the best available by default.

    Raises:
        ValueError: there is no such model or device, or data of a model that is not offered.
    """

    def __init__(
        self,
        models: Iterable[str] = (),
        data: Mapping[str, str] | None = None,
        device: str | None = None,
    ) -> None:
        self.device = pick(device)
        for model in models:
            resolve(model)
        self.names = tuple(dict.fromkeys([*models, *shipped()]))
        self._data = dict(data or {})
        if unknown := self._data.keys() - {*self.names}:
            model = literal(shown(min(unknown)))
            sentence = f"{{}} names {model}, which is not offered; give it as a model, too"
            raise SettingError("data", sentence)
        self._loaded: OrderedDict[str, Pipeline] = OrderedDict()
        self._training: tuple[str, Training] | None = None

    def pipeline(self, name: str) -> Pipeline:
        """Return a model, loaded at its first use; those used last stay in memory.

        Raises:
            SettingError: it is not offered.
        """
        if name not in self.names:
            raise out_of_range("model", f"one of {', '.join(self.names)}", name)
        if name not in self._loaded:
            self._loaded[name] = load(name, CLASSIFIERS.get(name), device=self.device)
        self._loaded.move_to_end(name)
        while len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)
        return self._loaded[name]

    def warm(self) -> None:
        """Load the first model, and take its first steps, which are the slowest."""
        self.pipeline(self.names[0]).job(count=1, steps=2).images([0])

    def offered(self, model: str) -> str | None:
        """Return the model that a picture names, as the page calls it; None if it has none."""
        return next((name for name in self.names if name_of(resolve(name)) == model), None)

    def describe(self, name: str) -> dict[str, Any]:
        """Return what a page knows of a model, as JSON values."""
        pipeline = self.pipeline(name)
        model = pipeline.model
        distillation = model.recipe.distillation
        return {
            "model": name,
            "kind": "student" if model.student else "diffusion",
            "shape": list(pipeline.shape),
            "classes": list(pipeline.classes),
            "labelled": bool(model.classes),
            "settings": to_json(pipeline.sampling),
            "guided": model.student or bool(pipeline.guides),
            "steps": list(distillation.steps) if distillation else [],
            "scales": list(distillation.scales) if distillation else [],
            "levels": pipeline.schedule.last,
            "about": f"{describe(model.recipe)}, trained for {model.trained_steps:,} steps.",
        }

    def training(self, name: str, emit: Emit) -> Training:
        """Return the training images of a model; the first time, their features are computed.

        Args:
            emit: receives `progress`.

        Raises:
            ValueError: they are not on this machine.
        """
        if self._training is None or self._training[0] != name:
            self._training = None  # one at a time, as features may be large
            self._training = (name, self._learn(name, emit))
        return self._training[1]

    def real(self, name: str) -> tuple[str, Source]:
        """Return `test` and the test images of a model's data; without them `training` and those.

        Raises:
            ValueError: as `training`.
        """
        with suppress(NoSplit):
            return "test", self._open(name, "test")
        return "training", self._open(name, "train")

    def _open(self, name: str, split: str) -> Source:
        model = self.pipeline(name).model
        try:
            return images_for(model, self._data.get(name, model.recipe.data.source), split)
        except (ValueError, OSError) as error:
            if name in self._data or isinstance(error, NoSplit):
                raise
            sentence = "its training images are not on this machine; start the studio with --data"
            raise ValueError(f"{sentence} {name}=FOLDER") from None

    def _learn(self, name: str, emit: Emit) -> Training:
        source = self._open(name, "train")
        features = _features(self.pipeline(name).model.recipe.data, str(self.device))
        work = user_cache("studio") / re.sub(r"\W+", "-", f"{source.name} {features.name}")
        with displayed(partial(_emitted, emit)):
            extracted = extract(source, features, Extraction(work=work))
        threshold = float(np.quantile(own_distances(extracted.pool), QUANTILE))
        return Training(source, features, extracted, threshold)


def alike(source: Source, job: Job, indices: range) -> Source:
    """Return one of the images for each of a job, of the same class; its seed chooses them.

    Raises:
        ValueError: there are none of a class.
    """
    labels, known = [0] * len(indices), replace(source, labels=torch.zeros_like(source.labels))
    if job.labels is not None:
        labels = [job.labels[index] for index in indices]
        none = source.subset(np.zeros(0, np.int64))
        known = relabelled(source, job.generator.classes) or none
    chosen = np.zeros(len(labels), np.int64)
    for place, label in enumerate(labels):
        own = np.flatnonzero(known.labels == label)
        if not len(own):
            name = shown(job.generator.classes[label])
            sentence = "choose another class, or give data that have it by --data at the start"
            raise ValueError(f"{source.name} has no images of {name}; {sentence}")
        (drawn,) = shuffle(job.generator.seed, len(own), labels[:place].count(label), 1)
        chosen[place] = own[drawn]
    return known.subset(chosen)


@contextmanager
def _emitted(
    emit: Emit, what: str, total: float, unit: str, done: float = 0
) -> Iterator[Callable[..., None]]:
    """Emit `progress`, where it is displayed otherwise."""

    def advance(amount: float, note: str = "") -> None:
        nonlocal done
        done += amount
        emit("progress", {"what": what, "done": int(done), "of": int(total)})

    yield advance


def shipped() -> list[str]:
    """Return the names of the shipped models that make images from noise, the simplest first."""
    names = []
    for path in SHIPPED.glob("*.safetensors"):
        recipe = from_json(metadata_of(path).recipe)
        if recipe.kind != "classifier" and recipe.data.low_res is None:
            names.append(path.stem)
    return sorted(names, key=lambda name: (name != FIRST, name.count("-"), name))


def _features(data: DataSettings, device: str) -> Features:
    """Return those of the shipped judge of these images; the pixels themselves without one."""
    for path in sorted(SHIPPED.glob(f"*{JUDGE}.safetensors")):
        judged = from_json(metadata_of(path).recipe).data
        if (judged.source, judged.size, judged.channels) == (data.source, data.size, data.channels):
            return open_features(path.stem, device)
    height, width = data.size
    return make_features(
        "pixels",
        data.channels * height * width,
        lambda images: Extracted(images.flatten(1).float() / 255),
        fingerprint_of("pixels in [0, 1]", {}),
        device,
    )
