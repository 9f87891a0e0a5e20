"""Shapes of an upsampler and of the images that it starts from -> ValueError unless they fit."""

from collections.abc import Sequence


def check_start(
    name: str, wanted: Sequence[int] | None, got: Sequence[int] | None, maker: str | None = None
) -> None:
    """Raise ValueError unless a generator starts from the images that it is given.

    Args:
        name: of the generator, such as the path of its model.
        wanted: (C, h, w) of the images that it starts from; None if it is not an upsampler.
        got: (C, h, w) of the images that it is given; None for none.
        maker: the path of the model that makes these images; None if they are given as images.
    """
    other = "" if got is None else f"pass an upsampler=... that starts from images of {sized(got)}"
    if wanted is None and got is not None:
        cure = " and takes no low_res; leave it out" if maker is None else f"; {other}"
        raise ValueError(f"{name} is not an upsampler{cure}")
    if wanted is not None and got is None:
        raise ValueError(
            f"{name} is an upsampler and starts from images of {sized(wanted)}; give them to "
            "`adm upsample`, or in Python as low_res"
        )
    if wanted is not None and got is not None and tuple(got) != tuple(wanted):
        whose = "got" if maker is None else f"{maker} makes"
        cure = "give images of that size" if maker is None else other
        raise ValueError(
            f"the upsampler {name} starts from images of {sized(wanted)} and {whose} {sized(got)}; "
            f"{cure}"
        )


def not_upsampler(model: object) -> ValueError:
    """Return the error of a model that `adm upsample` cannot use."""
    return ValueError(f"{model} is not an upsampler; give an upsampler, or use `adm sample`")


def check_upsampler_steps(steps: int | None, upsampler: object) -> None:
    """Raise ValueError if a number of steps is given for an upsampler that is not."""
    if steps is not None and upsampler is None:
        raise ValueError("upsampler_steps needs an upsampler; pass upsampler=...")


def sized(shape: Sequence[int]) -> str:
    """(C, H, W) -> such as `28x28 with 1 channel`."""
    channels, *sides = shape
    return f"{'x'.join(map(str, sides))} with {channels} channel{'s' if channels > 1 else ''}"
