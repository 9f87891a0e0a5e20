"""Gradient, visited levels -> Gradient: scale, reuse, cap and interval of classifier guidance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from adm.guidance import Gradient, between, capped, every, scaled
from adm.samplers.interval import Interval, check_ordered, check_within, visited

On = Literal["x_t", "x_0", "x_0_through_network"]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class ClassifierGuidance:
    """Guidance by a classifier.

    Attributes:
        scale: factor of the gradient; any finite number.
        interval: lowest and highest level of guidance, in levels of the process that the model was
            trained on; None for all levels.
        every: the gradient is evaluated at every `every`-th visited level of the interval, and
            reused in between. What is reused is the gradient with respect to x_t, without a scale:
            the sampler multiplies it by the factor of the level that it is at. On the exact
            classifier of a Gaussian mixture this is closer to full guidance than to reuse the
            shift of the noise or of x_0.
        cap: largest L2 norm of the scaled gradient of an image; None for no limit.
        on: what the classifier classifies. `x_t` needs a noisy classifier. `x_0` is the model's
            estimate of the clean image; see `clean_gradient`. `x_0_through_network` differentiates
            the model too, which costs a backward pass of its network. None for x_t with a noisy
            classifier, and x_0 with one of clean images.
        temperatures: factors of the logits in the joint and in the marginal term of
            log p(y given x) (Ma et al. 2024); None for 1 and 1, the log-probability.

    Raises:
        ValueError: the lowest level is above the highest, or below 0.
    """

    scale: Annotated[float, Field(allow_inf_nan=False)]
    interval: Interval | None = None
    every: Annotated[int, Field(ge=1)] = 1
    cap: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    on: On | None = None
    temperatures: tuple[Temperature, Temperature] | None = None
    name: Literal["classifier"] = "classifier"

    def __post_init__(self) -> None:
        check_ordered(self.interval)

    def check(self, last: int) -> None:
        """Raise ValueError unless the interval is within a process with T = `last`."""
        check_within(self.interval, last)

    def applied(self, gradient: Gradient, levels: Sequence[float]) -> Gradient:
        """Apply reuse, scale, cap and interval to a gradient.

        Args:
            levels: the levels that the sampler visits, of the process that the model was trained
                on, ascending.
        """
        found = gradient if self.every == 1 else every(gradient, self.every)
        found = scaled(found, self.scale)
        if self.cap is not None:
            found = capped(found, self.cap)
        inside = visited(self.interval, levels)
        return found if inside is None else between(found, *inside)
