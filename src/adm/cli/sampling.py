"""Command-line words -> the settings of a Pipeline: what every verb that samples understands."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:  # so that --help answers before torch is loaded
    from adm.generation.pipeline import Pipeline


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How to sample. What is not given is as the model's recipe says.

    Parameters
    ----------
    classifier
        The noisy classifier that guides; by default the one that comes with the model.
    scale
        Scale of the classifier's gradient: 0 is no guidance, 1 the classifier as it is; more
        sharpens it.
    sampler
        ancestral or ddim, with parameters after colons, as in ddim:eta=0.5.
    steps
        Evaluations of the network per image.
    eta
        DDIM: share of fresh noise, from 0 (deterministic) to 1 (as much as ancestral sampling).
    seed
        Seed of all randomness. An image follows from the seed and its number.
    batch_size
        Images at a time. It changes memory and speed only.
    spacing
        Timestep spacing: even, strided (as DDIM was released), quadratic or ddim_quadratic.
    start
        The noisiest level visited.
    without_label
        Do not tell the diffusion model the class: only the classifier guides.
    at_mean
        Ancestral: take the gradient at the mean, as in the paper's derivation.
    clip_again
        DDIM: clip the estimate of the image after guidance too.
    precision
        Of the networks: float32, bfloat16 or float16.
    rounding
        nearest, or truncated as in the released system.
    device
        cpu, cuda, mps, or cuda:1. The best available by default.
    """

    classifier: str | None = None
    scale: float | None = None
    sampler: str | None = None
    steps: int | None = None
    eta: float | None = None
    seed: int | None = None
    batch_size: int = 64
    spacing: str | None = None
    start: int | None = None
    without_label: Annotated[bool, Parameter(negative="")] = False
    at_mean: Annotated[bool, Parameter(negative="")] = False
    clip_again: Annotated[bool, Parameter(negative="")] = False
    precision: str | None = None
    rounding: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch size must be at least 1, got {self.batch_size}")

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for, as `Pipeline.sample` takes it."""
        return {
            "sampler": self.sampler,
            "steps": self.steps,
            "spacing": self.spacing,
            "start": self.start,
            "eta": self.eta,
            "scale": self.scale,
            "seed": self.seed,
            "use_labels": False if self.without_label else None,
            "at_mean": self.at_mean or None,
            "clip_again": self.clip_again or None,
            "precision": self.precision,
            "rounding": self.rounding,
        }

    def pipeline(self, model: str, upsampler: str | None = None) -> "Pipeline":
        """The model that these options sample."""
        from adm.generation.pipeline import load

        return load(model, self.classifier, upsampler, self.device)


DEFAULT = SamplingOptions()
