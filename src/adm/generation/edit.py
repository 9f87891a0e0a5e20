"""Images, Edit -> x_t from which they are sampled again; the job of these edits.

An edit chooses x_t: the image with noise added (SDEdit), its code by DDIM's inverse, or a code
between those of two images. From there the model is sampled as always, with any classes and guides,
so that an edit has all that a sample has: blocks, resuming, shards, ranks and a manifest.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from adm.diffusion import Denoise, Schedule, process
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import Cost
from adm.generation.inputs import Images, read_images
from adm.generation.job import Job, check_tensor
from adm.generation.labels import Classes, labels_of, positive
from adm.generation.start import FROM_IMAGE, Start
from adm.images import UINT8, to_float
from adm.limits import MOST_LEVELS
from adm.models.pair import check_from_noise
from adm.models.trained import DiffusionModel
from adm.samplers import DDIM, ImageNoise, Levels, Sampling, encode
from adm.samplers.sampler import Sampler
from adm.spec import Checked, SettingError, literal, text


@dataclass(frozen=True, kw_only=True)
class Edit(Checked, Start):
    """A start from images: x_t of one at a lower level, or between two.

    Attributes:
        strength: share of the way from level 1 to the noisiest level that sampling visits. All
            levels are moved towards level 1 by it, so that their number stays.
    """

    strength: Annotated[float, Field(ge=0.001, le=1)] = 0.5
    name: ClassVar[str]
    images: ClassVar[int] = 1  # input images of each
    together: ClassVar[int] = 1  # edits of the same images, in sequence

    def settings(self, model: DiffusionModel, changes: dict[str, Any]) -> dict[str, Any]:
        check_from_noise(model)
        return {"sampler": self.sampler(model.recipe.sample.sampler)} | changes

    def moved(self, sampling: Sampling, process: Schedule) -> Sampling:
        """Return the settings with the levels that they visit moved by the strength."""
        if self.strength == 1:
            return sampling
        visited = sampling.grid.visited(process)
        levels = tuple(1 + (level - 1) * self.strength for level in visited)
        return replace(sampling, grid=Levels(levels=levels))

    def sampler(self, default: Sampler) -> Sampler:
        """Return the sampler where none is given, by the model's default one."""
        return default

    def levels(self, start: float) -> list[float]:
        """Return the levels that lead from the image up to where sampling starts."""
        return [start]

    def input_shape(self, model: DiffusionModel) -> tuple[int, ...]:
        several = () if self.images == 1 else (self.images,)
        return (*several, *model.shape)

    def input_pictures(self, input_: Tensor) -> Sequence[Tensor]:
        return [input_] if self.images == 1 else list(input_)

    def cost(self, plain: Cost, model: DiffusionModel, sampling: Sampling) -> Cost:
        return plain + Cost(self.images * (self._way(model, sampling).last - 1))

    @torch.inference_mode(False)
    @torch.no_grad()
    def x_t(
        self, model: DiffusionModel, sampling: Sampling, noise: ImageNoise, inputs: Tensor | None
    ) -> Tensor:
        assert inputs is not None
        schedule = self._way(model, sampling)
        network = model.prepared(sampling.precision, sampling.compile)
        denoise = model.denoise(None, schedule, sampling.threshold, network=network)
        x_0 = to_float(inputs.to(model.device))
        places = torch.tensor([(index - FROM_IMAGE) % self.together for index in noise.indices])
        share = places / max(1, self.together - 1)
        return self.encoded(denoise, x_0, schedule, noise.start(), share)

    def _way(self, model: DiffusionModel, sampling: Sampling) -> Schedule:
        """Return the process that leads from the image up to where sampling starts."""
        *_, start = sampling.grid.visited(model.schedule)
        return model.schedule.visiting(self.levels(start))

    def manifest(self) -> dict[str, Any]:
        return {"edit": text(self)}

    def job(
        self,
        generator: DiffusionGenerator,
        images: Images,
        classes: Classes | None = None,
        samples: int = 1,
        source: str | None = None,
    ) -> Job:
        """Return the job of a generator that starts here; see `Pipeline.edit_job`."""
        targets = _targets(classes, generator)
        pixels, name = read_images("images", images, generator.shape, stored=generator.model.range)
        groups = _groups(pixels, self, generator)
        per_target = positive("samples", samples) * self.together
        per_group = per_target * (1 if targets is None else len(targets))
        inputs = groups.repeat_interleave(per_group, dim=0)
        labels = None
        if targets is not None:
            labels = [label for label in targets for _ in range(per_target)] * len(groups)
        return Job(generator, labels, len(inputs), inputs, source or name)

    @abstractmethod
    def encoded(
        self, denoise: Denoise, x_0: Tensor, schedule: Schedule, noise: Tensor, share: Tensor
    ) -> Tensor:
        """Return x_t, (B, C, H, W), at the last level of a schedule.

        Args:
            denoise: the model without labels and guides.
            x_0: (B, C, H, W) in [-1, 1]; (B, images, C, H, W) for several images each.
            schedule: the process of `levels`.
            noise: (B, C, H, W) standard normal.
            share: (B,) place of each among the edits of the same images, from 0 to 1.
        """


@dataclass(frozen=True, kw_only=True)
class NoiseEdit(Edit):
    """Noise is added to the image (SDEdit, Meng et al. 2022): what it hides is sampled anew.

    Attributes:
        strength: share of the way to pure noise. 1 is sampling without an image, and the image
            comes back as it falls to 0.
    """

    name: ClassVar[str] = "noise"

    def encoded(
        self, denoise: Denoise, x_0: Tensor, schedule: Schedule, noise: Tensor, share: Tensor
    ) -> Tensor:
        if self.strength == 1:  # where x_t is pure noise
            return noise
        return process.diffuse(schedule, x_0, noise, schedule.last)


@dataclass(frozen=True, kw_only=True)
class InvertEdit(Edit):
    """The image is encoded by DDIM's inverse, without labels and guides: no noise is drawn.

    Sampled without either, the code yields the image again, up to an error that falls with the
    steps. With a class, it yields a nearby image of that class.

    Attributes:
        strength: share of the way to pure noise; the lower, the more of the image stays.
        steps: levels of the way up, evenly spaced, that are visited for encoding.
    """

    steps: Annotated[int, Field(ge=2, le=MOST_LEVELS)] = 50
    name: ClassVar[str] = "invert"

    def sampler(self, default: Sampler) -> Sampler:
        return default.noiseless or DDIM()

    def levels(self, start: float) -> list[float]:
        last = self.steps - 1
        return [*(1 + (start - 1) * step / last for step in range(last)), start]

    def check(self, model: DiffusionModel, sampling: Sampling) -> None:
        if sampling.sampler.random:
            raise SettingError(
                "sampler",
                f"{{edit={self.name}}} needs a sampler that adds no noise, and "
                f"{text(sampling.sampler)} adds some; use {{sampler=ddim}}, or {{edit=noise}}",
            )
        if model.network.config.classes is not None and not model.recipe.train.label_dropout:
            raise SettingError(
                "edit",
                f"{{edit={self.name}}} encodes images without their class, and "
                f"{literal(str(model.path))} was trained without label dropout; use {{edit=noise}}",
            )

    def encoded(
        self, denoise: Denoise, x_0: Tensor, schedule: Schedule, noise: Tensor, share: Tensor
    ) -> Tensor:
        return code(denoise, x_0, schedule)


@dataclass(frozen=True, kw_only=True)
class InterpolateEdit(InvertEdit):
    """Images between two, from codes on the arc between theirs (DDIM, Song et al. 2021, D.5).

    Attributes:
        strength: share of the way to pure noise at which codes are taken.
        count: images for each pair of neighbours; the first and the last one are those of the pair,
            encoded and sampled.
    """

    strength: Annotated[float, Field(ge=0.001, le=1)] = 1.0
    count: Annotated[int, Field(ge=2, le=1000)] = 7
    name: ClassVar[str] = "interpolate"
    images: ClassVar[int] = 2

    @property
    def together(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.count

    def encoded(
        self, denoise: Denoise, x_0: Tensor, schedule: Schedule, noise: Tensor, share: Tensor
    ) -> Tensor:
        ends = [code(denoise, each, schedule) for each in x_0.unbind(1)]
        return on_arc(ends[0], ends[1], share)


EDITS: dict[str, type[Edit]] = {
    kind.name: kind for kind in (NoiseEdit, InvertEdit, InterpolateEdit)
}


def code(denoise: Denoise, x_0: Tensor, schedule: Schedule) -> Tensor:
    """(B, C, H, W) images -> x_t at the last level, from which DDIM samples them again."""
    return next(state.x for state in encode(denoise, x_0, schedule) if state.level == schedule.last)


def on_arc(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Return points of the arc between two codes (DDIM, equation 67).

    On a straight line they would be too short: noise of many dimensions has nearly always the same
    length.

    Args:
        start, end: (B, C, H, W).
        share: (B,) place on the arc, 0 at `start` and 1 at `end`.
    """
    # On the CPU, for not all devices have float64.
    one, other = (each.flatten(1).cpu().double() for each in (start, end))
    cosine = F.cosine_similarity(one, other, dim=1).clamp(-1, 1)
    angle, place = cosine.acos()[:, None], share.double()[:, None]
    # Codes of one direction have no arc, but a line.
    flat = angle.sin() < 1e-6
    whole = torch.where(flat, 1.0, angle.sin())
    before = torch.where(flat, 1 - place, ((1 - place) * angle).sin() / whole)
    after = torch.where(flat, place, (place * angle).sin() / whole)
    return (before * one + after * other).reshape(start.shape).to(start.dtype).to(start.device)


def _targets(classes: Classes | None, generator: DiffusionGenerator) -> list[int] | None:
    """Return the labels of the edits of each image; None for unconditional edits."""
    if classes is None:
        if generator.classes:
            raise SettingError("classes", "the model or a guide is conditioned on a class; give {}")
        return None
    return labels_of(classes, generator.classes)[0]


def _groups(images: Tensor, edit: Edit, generator: DiffusionGenerator) -> Tensor:
    """Return the inputs of edits: (N, *input_shape), each image or each two neighbours."""
    cure = "resize the images, or convert their channels"
    images = images if generator.model.range == UINT8 else to_float(images)
    check_tensor("images", images, generator.model.range.memory, generator.shape, cure)
    if len(images) < edit.images:
        raise SettingError(
            "images", f"{{edit={edit.name}}} needs at least {edit.images} images, got {len(images)}"
        )
    return images if edit.images == 1 else torch.stack([images[:-1], images[1:]], dim=1)
