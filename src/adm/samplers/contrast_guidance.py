"""A weaker prediction, scale, interval -> Contrast: guidance that needs no classifier.

Each term moves the prediction of a model away from a weaker one, of the same images: that of the
model without the label, of a worse model, or of the model with its attention disturbed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adm.diffusion import Denoise
from adm.guidance import Contrast
from adm.samplers.interval import Interval, check_ordered, check_within, visited


@dataclass(frozen=True, kw_only=True)
class ContrastGuidance:
    """What all terms have that contrast a prediction with a weaker one.

    Raises:
        ValueError: the lowest level of the interval is above the highest, or below 0.
    """

    scale: Annotated[float, Field(allow_inf_nan=False)]
    interval: Interval | None = None
    name: str
    neutral: ClassVar[float] = 1.0  # the scale that changes nothing

    def __post_init__(self) -> None:
        check_ordered(self.interval)

    @property
    def factor(self) -> float:
        """Factor of the difference, prediction - weaker one, which is added to the prediction."""
        return self.scale - self.neutral

    def check(self, last: int) -> None:
        """Raise ValueError unless the interval is within a process with T = `last`."""
        check_within(self.interval, last)

    def applied(self, weak: Denoise, levels: Sequence[float]) -> Contrast:
        """Return the contrast with a weaker denoiser.

        Args:
            levels: the levels that the sampler visits, of the process that the model was trained
                on, ascending.
        """
        return Contrast(weak, self.factor, visited(self.interval, levels))


@dataclass(frozen=True, kw_only=True)
class FreeGuidance(ContrastGuidance):
    """Classifier-free guidance (Ho and Salimans 2022): away from the model without the label.

    It needs a class-conditional network that was trained with label dropout, so that it is an
    unconditional one as well.

    Attributes:
        scale: 1 is the model itself, above 1 it follows the label more, and 0 is the unconditional
            model; any finite number. w of Ho and Salimans is scale - 1.
        interval: lowest and highest level of guidance, in levels of the process that the model was
            trained on; None for all levels. At other levels the network is evaluated once.
    """

    name: Literal["free"] = "free"


@dataclass(frozen=True, kw_only=True)
class WeakGuidance(ContrastGuidance):
    """Autoguidance (Karras et al. 2024): away from a worse model of the same images.

    The weak model has the data, the process and the classes of the model, such as a checkpoint of
    fewer steps, or a smaller network. Both are told the label.

    Attributes:
        scale: 1 is the model itself, above 1 leads away from what the weak model does worse, and 0
            is the weak model; any finite number.
        interval: see `FreeGuidance`.
    """

    name: Literal["weak"] = "weak"


@dataclass(frozen=True, kw_only=True)
class AttentionGuidance(ContrastGuidance):
    """Perturbed-attention guidance (Ahn et al. 2024): away from the model without attention.

    The weak prediction is that of the same network whose innermost self-attention, that of the
    middle block, is replaced by the identity: each position attends to itself alone. Both are told
    the label, if the model has labels.

    Attributes:
        scale: factor of the difference, so that here 0 is the model itself; any finite number.
        interval: see `FreeGuidance`.
    """

    name: Literal["attention"] = "attention"
    neutral: ClassVar[float] = 0.0
