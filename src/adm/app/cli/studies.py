"""Options of a sweep -> Study, Against, Extraction."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.options import THEIR_FEATURES, Classifier, Device, Resize, Split, Weak, separated
from adm.app.cli.output import OUT
from adm.app.cli.sampling import labels_like
from adm.app.cli.scoring import extraction_of, joined

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.study.scoring import Against
    from adm.app.study.study import Axis, Study
    from adm.generation.pipeline import Pipeline
    from adm.processes import Devices
    from adm.scoring import Extraction

Vary = Annotated[tuple[str, ...], Parameter(name="--vary", negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The samples of every point, and their scoring.

    Parameters
    ----------
    reference
        References to score samples against: files of `adm reference`, one for each of the features;
        or data, from which references are computed once and stored in the folder. Several are
        separated by commas; the first of the features decides what is best.
    out
        Folder to write or to resume.
    count
        Images per point. Distances of few images are biased, and comparable within one folder only.
    classes
        Classes to sample, in turn: names, separated by commas. By default all.
    proportions
        List of labels, such as one of `adm cluster`, whose proportions of classes to sample.
    judge
        Classifier of clean images whose accuracy on the samples is reported as well.
    seed
        Random seed. Each image depends on the seed and its index only.
    batch_size
        Images per batch of the features, which affects scores only by rounding.
    """

    reference: Annotated[tuple[str, ...], separated()]
    out: Annotated[Path, OUT]
    classifier: Classifier = None
    weak: Weak = None
    count: int = 1000
    classes: str | None = None
    proportions: str | None = None
    features: Annotated[tuple[str, ...] | None, separated(), THEIR_FEATURES] = None
    resize: Resize = None
    split: Split = "train"
    judge: str | None = None
    seed: int = 0
    batch_size: int = 64
    device: Device = None

    def opened(self, model: str) -> tuple["Pipeline", "Devices"]:
        """Check the folder, join the ranks, and load the model with its helpers."""
        places.resumable(self.out, "a study needs")
        from adm.generation.pipeline import load

        devices = joined(self.device)
        return load(model, self.classifier, device=devices.device, weak=self.weak), devices

    def study(self, pipeline: "Pipeline", axes: "Sequence[Axis]") -> "Study":
        """Return the study of a model, with labels in the proportions of a list if one is given."""
        from adm.app.study.study import study_of

        chosen, count, labels = self.classes, self.count, None
        if self.proportions is not None:
            known = pipeline.classes
            labels = labels_like(self.proportions, chosen, known, count).tolist()
        return study_of(pipeline, axes, count=count, seed=self.seed, classes=chosen, labels=labels)

    @property
    def against(self) -> "Against":
        """The references and the scoring of the samples."""
        from adm.app.study.scoring import Against

        return Against(
            reference=self.reference,
            features=self.features,
            split=self.split,
            resize=self.resize,
            judge=self.judge,
        )

    def extraction(self, devices: "Devices") -> "Extraction":
        """Return how the features of references are extracted."""
        return extraction_of(devices, self.batch_size)
