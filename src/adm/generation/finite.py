"""Iterator[State] -> the same states; FloatingPointError at the first that is not finite."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from adm.samplers import Sampling, State

NotFinite = Callable[[int, int], FloatingPointError]  # step, place in the batch -> error


def finite(states: Iterator[State], error: NotFinite) -> Iterator[State]:
    """Yield the states of a batch, and raise an error at the first NaN or infinity.

    On a CPU, sampling stops at that step. On an accelerator, where looking at a value would wait
    for all computations, the flags stay on the device until the last step.

    Args:
        error: the step, counted from 1, and the place of the first such image -> error.
    """
    flags: list[Tensor] = []
    for state in states:
        flags.append(state.x.isfinite().flatten(1).all(1))
        if state.x.device.type == "cpu" and not flags[-1].all():
            break
        yield state
    lost = (~torch.stack(flags)).nonzero()
    if len(lost):
        step, place = lost[0].tolist()
        raise error(step + 1, place)


def not_finite(
    model: str, sampling: Sampling, index: int, step: int, level: float
) -> FloatingPointError:
    """Return the error for an image that is NaN or infinite after a step.

    Args:
        model: name of the model's file.
        index: of the image.
        step: counted from 1.
        level: the level that the step left.
    """
    cures = ["use another checkpoint"]
    if any(guide.scale != guide.neutral for guide in sampling.guide):
        cures.insert(0, "guide with a smaller scale")
    if sampling.precision == "float16":
        cures.insert(0, "sample in bfloat16 or float32")
    return FloatingPointError(
        f"sampling {model} gave NaN or infinity in image {index} at step {step} of "
        f"{sampling.grid.steps} (level {level:g}); {', or '.join(cures)}"
    )
