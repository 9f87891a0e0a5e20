"""What models say about themselves -> ValueError unless they fit each other and the settings."""

from collections.abc import Mapping, Sequence

from adm.shown import in_short


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


def check_free(name: object, labelled: bool, told: bool, label_dropout: float) -> None:
    """Raise ValueError unless a model can be guided away from its prediction without the label.

    Args:
        name: of the model, such as its path.
        labelled: whether its network takes labels.
        told: whether it is told them.
        label_dropout: fraction of images that it was trained on without their label.
    """
    if not labelled:
        raise ValueError(
            f"{name} takes no labels, and free_scale=... guides away from the model without the "
            "label; leave it out, or pass attention_scale=..."
        )
    if not told:
        raise ValueError(
            "free_scale=... needs the label that use_labels=False withholds; leave one of them out"
        )
    if not label_dropout:
        raise ValueError(
            f"{name} was trained without label dropout, so that it has no prediction without the "
            "label; leave free_scale=... out, or train with train.label_dropout=0.1"
        )


def check_weak(weak: object, pairs: Mapping[str, tuple[object, object]]) -> None:
    """Raise ValueError unless a weak model fits the one that it guides.

    Args:
        weak: its name, such as its path.
        pairs: what they must have in common -> that of the model, and that of the weak one.
    """
    for what, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise ValueError(
                f"the weak model {weak} has {what} {in_short(theirs)} and the model has "
                f"{in_short(ours)}; pass weak=... of the same data, process and classes"
            )


def no_weak(scale: float) -> ValueError:
    """Return the error of autoguidance without a weak model."""
    return ValueError(
        f"weak_scale {scale:g} needs a weak model; pass weak=..., such as an earlier checkpoint"
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
