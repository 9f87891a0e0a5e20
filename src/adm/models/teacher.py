"""DiffusionModel, ClassifierModel -> Teach; teacher -> weights that its student starts from."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adm.diffusion import Denoise, Schedule
from adm.distillation import Progressive
from adm.guidance import between, folded, scaled
from adm.models.identity import identify
from adm.models.load import load_classifier, load_diffusion
from adm.models.pair import check_pair, classifier_of
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes.schema import DiffusionRecipe, Recipe
from adm.shown import printable, short
from adm.spec import SettingError


@dataclass(frozen=True, eq=False)
class Teacher:
    """A guided sampler from which a student is distilled.

    Attributes:
        model: a diffusion model; or a student, which takes the scale as an input.
        classifier: the classifier that guides the model; None for a student.
        precision: precision of the networks.

    Raises:
        ValueError: the classifier cannot guide the model, or there is none and the model needs one.
    """

    model: DiffusionModel
    classifier: ClassifierModel | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.model.student:
            if self.classifier is not None:
                raise SettingError(
                    "teacher_classifier",
                    f"left out for {self.model.name}, a student, which takes the scale as an input",
                )
        elif self.classifier is None:
            raise SettingError("teacher_classifier", f"given, as none belongs to {self.model.name}")
        else:
            check_pair(self.model, self.classifier)

    @classmethod
    def load(
        cls,
        model: str | Path,
        classifier: str | Path | None = None,
        device: torch.device | str | None = None,
        precision: str = "float32",
    ) -> "Teacher":
        """Load a teacher.

        Args:
            model: a path (a file or a run folder) or a shipped name.
            classifier: the same; None for the one that belongs to the model.
        """
        loaded = load_diffusion(model, device)
        if classifier is None and not loaded.student:
            classifier = classifier_of(model, loaded.path)
        guide = None if classifier is None else load_classifier(classifier, device)
        return cls(loaded, guide, precision)

    def at(self, precision: str) -> "Teacher":
        """Return the teacher with its networks in another precision."""
        return replace(self, precision=precision)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by their part."""
        by_name: dict[str, nn.Module] = {"teacher": self.model.network}
        return by_name if self.classifier is None else by_name | {"guide": self.classifier.network}

    @property
    def identity(self) -> dict[str, Any]:
        """What identifies the teacher in a run and in its models, as JSON values."""
        identities = {"teacher": _identity(self.model)}
        if self.classifier is not None:
            identities["guide"] = _identity(self.classifier)
        return identities

    def teach(
        self,
        schedule: Schedule,
        labels: Tensor,
        scales: Tensor,
        inside: tuple[int, int] | None = None,
    ) -> Denoise:
        """Return the guided denoiser for these labels and guidance scales, (B,) each.

        Args:
            schedule: the levels; a student as teacher steps between neighbouring ones.
            inside: lowest and highest of these levels that is guided, None for all; a student as
                teacher has learned its own.
        """
        plain = self.model.denoise(labels, schedule, precision=self.precision, scale=scales)
        if self.classifier is None:
            return plain
        factor = scales.reshape(-1, 1, 1, 1)
        pull = self.classifier.gradient(labels, schedule, self.precision)
        pull = scaled(pull, lambda level: factor)
        return folded(plain, pull if inside is None else between(pull, *inside), schedule)

    def check(self, recipe: DiffusionRecipe, classes: tuple[str, ...]) -> None:
        """Raise ValueError unless a student of this recipe can learn from the teacher.

        Args:
            classes: of the data that the student is trained on.
        """
        ours, theirs = recipe, self.model.recipe
        differing = [
            (f"unet.{field.name}", getattr(theirs.unet, field.name), getattr(ours.unet, field.name))
            for field in fields(ours.unet)
            if field.name not in ("conditions", "dropout", "changes")
        ]
        differing += [
            ("process", theirs.process, ours.process),
            ("data.size", theirs.data.size, ours.data.size),
        ]
        for field, taught, own in differing:
            if taught != own:
                cure = "leave the setting out, which then follows from {teacher}"
                raise SettingError(field, f"that of the teacher, {taught}", own, cure)
        if self.model.classes != classes:
            raise ValueError(
                f"the teacher's classes are {_shorten(self.model.classes)}, and the data have "
                f"{_shorten(classes)}; give the data or the labels that the teacher was trained on"
            )
        self._check_steps(recipe)

    def _check_steps(self, recipe: DiffusionRecipe) -> None:
        known, how = self.model.recipe.distillation, recipe.distillation
        if known is None or how is None:
            return
        if not isinstance(how.method, Progressive):
            raise SettingError(
                "distillation.method",
                "progressive, the only one that learns from a student",
                how.method.name,
                "give a {teacher} that is no student, or another method",
            )
        needed = [how.method.teacher_steps(steps) for steps in how.steps]
        lacking = [steps for steps in needed if steps not in known.steps]
        process = self.model.schedule
        if lacking or known.grid.visited(process) != how.grid.visited(process):
            raise SettingError(
                "distillation.steps",
                f"half of those of the teacher, {max(known.steps)}, on the same grid",
                how.steps,
                f"set distillation.steps={max(1, max(known.steps) // 2)} "
                "distillation.method=progressive:factor=2 and the teacher's distillation.grid",
            )

    def start(self, network: nn.Module) -> None:
        """Fill a student with the weights of the teacher."""
        weights, own = self.model.network.state_dict(), network.state_dict()
        network.load_state_dict({name: weights.get(name, w).clone() for name, w in own.items()})


def follow_teacher(recipe: Recipe, teacher: DiffusionRecipe) -> Recipe:
    """Return a recipe of distillation with the network, the process and the data of a teacher.

    Any other recipe stays as it is.
    """
    if not isinstance(recipe, DiffusionRecipe) or recipe.distillation is None:
        return recipe
    method = recipe.distillation.method
    return replace(
        recipe,
        data=replace(teacher.data, augment=0.0),
        process=teacher.process,
        unet=replace(
            teacher.unet, conditions=method.conditions, dropout=recipe.unet.dropout, changes=0
        ),
        sample=replace(recipe.sample, sampler=method.sampler()),
    )


def _identity(model: DiffusionModel | ClassifierModel) -> dict[str, Any]:
    return {
        "recipe": model.recipe.name,
        "sha256": identify(model.path),
        "trained_steps": model.trained_steps,
    }


def _shorten(classes: tuple[str, ...]) -> str:
    return short(printable(", ".join(classes)))
