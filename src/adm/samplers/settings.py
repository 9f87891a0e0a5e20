"""Sampler, Grid, terms of guidance, seed -> Sampling."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from adm.samplers.ancestral import Ancestral
from adm.samplers.classifier_guidance import ClassifierGuidance
from adm.samplers.contrast_guidance import (
    AttentionGuidance,
    ContrastGuidance,
    FreeGuidance,
    WeakGuidance,
)
from adm.samplers.grid import Grid
from adm.samplers.table import Sampler

Precision = Literal["float32", "bfloat16", "float16", "auto"]
Engine = Literal["torch", "torch-compiled", "openvino", "openvino-int8"]
Rounding = Literal["nearest", "truncated"]
ThresholdName = Literal["clip", "dynamic"]
Term: TypeAlias = ClassifierGuidance | FreeGuidance | WeakGuidance | AttentionGuidance


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Everything besides the models that determines samples.

    A recipe has one, `Pipeline.sample` and the command line change it, and the manifest of a sample
    folder stores it.

    Attributes:
        sampler: the algorithm, with its parameters.
        grid: the noise levels visited.
        guidance: what steers: a classifier's gradient, and contrasts with weaker predictions, whose
            differences add up; empty for no guidance.
        use_labels: whether a class-conditional model receives the class; otherwise only the
            guidance depends on it.
        threshold: how estimates of x_0 are kept within [-1, 1], the range of images: by clipping
            pixels, or by dynamic thresholding of each image, which is meant for images of several
            channels.
        precision: precision of the networks; everything else is float32. "auto" is the one that is
            fastest, by a measurement (see `adm.generation.precision`).
        engine: what evaluates the networks: torch; torch, which compiles them; OpenVINO; or
            OpenVINO with convolutions in 8-bit integers. OpenVINO evaluates the diffusion network,
            and torch the classifiers and all gradients.
        seed: random seed, in 0..2^64 - 1; with the index of an image it determines its noise.
        rounding: rounding to 8 bits; the released system uses `truncated`.

    Raises:
        ValueError: the seed is out of range.
    """

    sampler: Annotated[Sampler, Field(discriminator="name")] = field(default_factory=Ancestral)
    grid: Grid = field(default_factory=Grid)
    guidance: tuple[Annotated[Term, Field(discriminator="name")], ...] = ()
    use_labels: bool = True
    threshold: ThresholdName = "clip"
    precision: Precision = "float32"
    engine: Engine = "torch"
    seed: int = 0
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in 0..2^64 - 1, got {self.seed}")

    @property
    def by_classifier(self) -> tuple[ClassifierGuidance, ...]:
        """The terms of guidance by a classifier."""
        return tuple(term for term in self.guidance if isinstance(term, ClassifierGuidance))

    @property
    def by_contrast(self) -> tuple[ContrastGuidance, ...]:
        """The terms that contrast with a weaker prediction, without those of no effect."""
        terms = [term for term in self.guidance if isinstance(term, ContrastGuidance)]
        return tuple(term for term in terms if term.factor)

    @property
    def scale(self) -> float:
        """Sum of the scales of a classifier's guidance; 0 for none."""
        return sum(term.scale for term in self.by_classifier)
