"""DiffusionModel, ClassifierModel -> Teach; teacher -> weights that its student starts from."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adm.diffusion import Denoise, Schedule, clip
from adm.guidance import Contrast, between, contrasted, folded, scaled, thresholded
from adm.models.identity import identify
from adm.models.load import load_classifier, load_diffusion
from adm.models.pair import check_pair, check_weak, classifier_of, weak_of
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes.schema import DiffusionRecipe, Recipe
from adm.shown import printable, short
from adm.spec import SettingError, literal, out_of_range


@dataclass(frozen=True, eq=False)
class Teacher:
    """A guided sampler from which a student is distilled.

    Attributes:
        model: a diffusion model, which is no student itself.
        classifier: the classifier that guides the model.
        weak: the weak model that guides it, if `weak_scale` is not 1; None for none.
        weak_scale: as that of `samplers.WeakGuide`.
        precision: precision of the networks.

    Raises:
        ValueError: the classifier or the weak model cannot guide the model.
    """

    model: DiffusionModel
    classifier: ClassifierModel
    weak: DiffusionModel | None = None
    weak_scale: float = 1.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_pair(self.model, self.classifier)
        if self.weak is not None:
            check_weak(self.model, self.weak)

    @classmethod
    def load(
        cls,
        model: str | Path,
        classifier: str | Path | None = None,
        weak: str | Path | None = None,
        device: torch.device | str | None = None,
    ) -> "Teacher":
        """Load a teacher, without the scale of its weak model.

        Args:
            model: a path (a file or a run folder) or a shipped name.
            classifier, weak: the same; None for the one that belongs to the model, if there is one.

        Raises:
            SettingError: the model is a student, or no classifier is given and none belongs to it.
        """
        loaded = load_diffusion(model, device)
        if loaded.student:
            what = f"{literal(loaded.name)} is a student; give the teacher that it had"
            raise SettingError("teacher", what)
        classifier = classifier or classifier_of(model, loaded.path)
        if classifier is None:
            what = f"no classifier belongs to {literal(loaded.name)}; give {{teacher_classifier}}"
            raise SettingError("teacher_classifier", what)
        guide, weak = load_classifier(classifier, device), weak or weak_of(model, loaded.path)
        return cls(loaded, guide, None if weak is None else load_diffusion(weak, device))

    def of(self, recipe: Recipe) -> "Teacher":
        """Return the teacher as it teaches in a recipe: in its precision, and with its weak model.

        Raises:
            SettingError: the recipe needs a weak model, and there is none.
        """
        how = recipe.distillation if isinstance(recipe, DiffusionRecipe) else None
        scale = 1.0 if how is None else how.weak_scale
        if scale != 1.0 and self.weak is None:
            what = f"distillation.weak_scale={scale:g} needs {{teacher_weak}}"
            raise SettingError("teacher_weak", what)
        weak = None if scale == 1.0 else self.weak
        return replace(self, weak=weak, weak_scale=scale, precision=recipe.train.precision)

    @property
    def _models(self) -> dict[str, DiffusionModel | ClassifierModel]:
        models = {"teacher": self.model, "guide": self.classifier, "weak": self.weak}
        return {part: model for part, model in models.items() if model is not None}

    @property
    def identity(self) -> dict[str, Any]:
        """What identifies the teacher in a run and in its models, as JSON values."""
        return {part: _identity(model) for part, model in self._models.items()}

    def teach(
        self,
        schedule: Schedule,
        labels: Tensor,
        scales: Tensor,
        inside: tuple[int, int] | None = None,
    ) -> Denoise:
        """Return the guided denoiser for these labels and guidance scales, (B,) each.

        Args:
            schedule: the levels.
            inside: lowest and highest of these levels that is guided, None for all.
        """
        model, weak, guide = self.model, self.weak, self.classifier
        limit = clip if weak is None else None
        plain = model.denoise(labels, schedule, limit, network=model.prepared(self.precision))
        if weak is not None:
            worse = weak.denoise(labels, schedule, limit, network=weak.prepared(self.precision))
            plain = contrasted(plain, Contrast(worse, self.weak_scale - 1))
            plain = thresholded(plain, clip, schedule)
        factor = scales.reshape(-1, 1, 1, 1)
        pull = guide.gradient(labels, schedule, network=guide.prepared(self.precision))
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
            if field.name not in ("conditions", "dropout")
        ]
        differing += [
            ("process", theirs.process, ours.process),
            ("data.size", theirs.data.size, ours.data.size),
        ]
        for field, taught, own in differing:
            if taught != own:
                cure = "leave the setting out, which then follows from {teacher}"
                raise out_of_range(field, f"that of the teacher, {taught}", own, cure)
        if self.model.classes != classes:
            raise ValueError(
                f"the teacher's classes are {_shorten(self.model.classes)}, and the data have "
                f"{_shorten(classes)}; give the data or the labels that the teacher was trained on"
            )

    def start(self, network: nn.Module) -> None:
        """Fill a student with the weights of the teacher."""
        weights, own = self.model.network.state_dict(), network.state_dict()
        network.load_state_dict({name: weights.get(name, w).clone() for name, w in own.items()})


def _identity(model: DiffusionModel | ClassifierModel) -> dict[str, Any]:
    return {
        "recipe": model.recipe.name,
        "sha256": identify(model.path),
        "trained_steps": model.trained_steps,
    }


def _shorten(classes: tuple[str, ...]) -> str:
    return short(printable(", ".join(classes)))
