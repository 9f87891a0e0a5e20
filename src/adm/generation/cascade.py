"""Generator, DiffusionModel -> CascadeGenerator, which upsamples the images of the generator."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import Cost, Generator, OnStep
from adm.generation.job import sized
from adm.models.trained import DiffusionModel
from adm.samplers import State
from adm.spec import SettingError, literal

# Names of the upsampler's settings among those of a cascade.
OF_UPSAMPLER = {"steps": "upsampler_steps", "low_res_noise": "upsampler_noise"}


@dataclass(frozen=True, eq=False)
class CascadeGenerator(Generator):
    """A generator whose images an upsampler enlarges.

    Both draw their noise by the seed of the base and the index of an image, independently.

    Attributes:
        base: generates the small images.
        upsampler: enlarges them.
        translation: label of an image of the base -> label of the same class in the upsampler; None
            if the upsampler is not conditioned on a class.

    Raises:
        ValueError: the upsampler starts from images of another shape.
    """

    base: Generator
    upsampler: DiffusionGenerator
    translation: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        expected, actual = self.upsampler.input_shape, self.base.shape
        if expected != actual:
            own = "is no upsampler" if expected is None else f"enlarges {sized(expected)}"
            raise SettingError(
                "upsampler",
                f"{literal(self.upsampler.name)} {own}, and {literal(self.base.name)} makes "
                f"{sized(actual)}; give an upsampler of these",
            )

    @property
    def name(self) -> str:
        return self.upsampler.name

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.upsampler.shape

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """(C, h, w) of the images that the base starts from, if that is an upsampler as well."""
        return self.base.input_shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.base.classes

    @property
    def seed(self) -> int:
        return self.base.seed

    @property
    def cost(self) -> Cost:
        """Calls of the networks per image, of both models."""
        return self.base.cost + self.upsampler.cost

    @property
    def block(self) -> int:
        """The number of images in a block: the larger of both, a multiple of the smaller."""
        return max(self.base.block, self.upsampler.block)

    @property
    def guidance(self) -> str:
        return self.base.guidance

    @property
    def shared(self) -> dict[str, Any]:
        return self.base.shared

    @property
    def steps(self) -> int:
        """The number of levels that the upsampler visits."""
        return self.upsampler.steps

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Generate small images and enlarge them: (N, C, H, W) on the CPU.

        Raises:
            FloatingPointError: a step gave NaN or infinity.
        """
        small = self.base.images(labels, indices, inputs, on_step)
        return self.upsampler.images(self._labels_of_upsampler(labels), indices, small, on_step)

    def x_start(self, indices: Sequence[int], inputs: Tensor | None = None) -> Tensor:
        """Return the noise that the upsampler starts from."""
        return self.upsampler.x_start(indices)

    def trajectory(
        self, labels: Tensor | None, indices: Sequence[int], inputs: Tensor | None = None
    ) -> Iterator[State]:
        """Generate small images, and enlarge them step by step; see `DiffusionGenerator`."""
        small = self.base.images(labels, indices, inputs)
        yield from self.upsampler.trajectory(self._labels_of_upsampler(labels), indices, small)

    def _labels_of_upsampler(self, labels: Tensor | None) -> Tensor | None:
        """(B,) labels of the base -> (B,) labels of the upsampler; None if it receives none."""
        final = self.base.ends(labels)
        if final is None or self.translation is None:
            return None
        return torch.tensor([self.translation[label] for label in final.tolist()])

    def manifest(self) -> dict[str, Any]:
        """The upsampler's manifest, with the base's as `base`, as JSON values."""
        return {**self.upsampler.manifest(), "base": self.base.manifest()}


def cascade(
    base: Generator,
    upsampler: DiffusionModel,
    labels: Sequence[int] | None,
    steps: int | None = None,
    noise: int | None = None,
) -> CascadeGenerator:
    """Return the generator that upsamples the images of `base`.

    The upsampler receives the same classes, matched by name, if it has them. It is sampled with the
    settings of its recipe, and those that the base shares.

    Args:
        labels: those of the images to generate.
        steps: evaluations of the upsampler per image; its recipe's value by default.
        noise: level of the noise on the images of `base`; the upsampler's recipe's by default.

    Raises:
        ValueError: the upsampler has only some of the classes, starts from images of another size,
            or does not support the steps or the noise.
    """
    try:
        sampling = upsampler.recipe.sample.change(steps=steps, low_res_noise=noise, **base.shared)
        larger = DiffusionGenerator.of(upsampler, sampling)
    except SettingError as error:
        field = OF_UPSAMPLER.get(error.field, error.field)
        raise SettingError(field, error.sentence) from None
    translation = None
    final = base.ends(None if labels is None else torch.tensor(labels))
    if final is not None:
        used = sorted(set(final.tolist()))
        translated = translate(used, base.classes, upsampler.classes)
        translation = None if translated is None else dict(zip(used, translated, strict=True))
    return CascadeGenerator(base, larger, translation)


def translate(
    labels: Sequence[int], names: Sequence[str], known: Sequence[str]
) -> list[int] | None:
    """Return the labels of the same classes in another model, matched by name without case.

    Args:
        labels: indices into `names`.
        known: the classes of the other model, in the order of its labels.

    Returns:
        Indices into `known`, or None if the other model has none of the classes.

    Raises:
        ValueError: the other model has only some of the classes.
    """
    folded = {name.casefold(): number for number, name in enumerate(known)}
    used = [names[label] for label in labels]
    unknown = sorted({name for name in used if name.casefold() not in folded})
    if not unknown:
        return [folded[name.casefold()] for name in used]
    if len(unknown) == len(set(used)):
        return None
    raise SettingError(
        "classes",
        f"the other model does not know {literal(', '.join(unknown[:5]))}; ask for classes of both "
        f"models ({literal(', '.join(known[:20]))}), or pass {{use_labels=False}}",
    )
