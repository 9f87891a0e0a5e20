"""Released .pt file -> Loaded: released names, description, our state dict."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from adm.models.convert.released import differences, import_state, released_shapes
from adm.models.pickled import read_tensors
from adm.networks import Shapes, shapes_of
from adm.recipes.released import RELEASED, Released


class Loaded(NamedTuple):
    """The content of a released file.

    Attributes:
        names: names of the released files of this architecture; several if their weights have the
            same names and shapes.
        released: configuration and attention order of the network.
        state: our name -> tensor.
    """

    names: tuple[str, ...]
    released: Released
    state: dict[str, Tensor]


def recognise(shapes: Shapes) -> tuple[str, ...]:
    """Return the released files that have exactly these names and shapes.

    There may be several: the unconditional ImageNet model and the four LSUN models have the same
    shapes, and differ only in dropout, which sampling does not use. The number of heads does not
    affect shapes, so a custom network that differs only in it is taken for the released one.

    Raises:
        ValueError: there is none; names the nearest and the settings in which it differs.
    """
    got = {name: tuple(shape) for name, shape in shapes.items()}
    if found := tuple(name for name in RELEASED if _wanted(name) == got):
        return found
    nearest = min(RELEASED, key=lambda name: len(differences(got, _wanted(name))))
    differing = differences(got, _wanted(nearest)) or [
        "some tensors are missing or of another shape"
    ]
    raise ValueError(
        f"no released file has these weights; compared with {nearest}: {'; '.join(differing)}; "
        "give the flags they were trained with"
    )


def _wanted(name: str) -> dict[str, tuple[int, ...]]:
    return released_shapes(RELEASED[name].config)


def load_released(path: Path, described: Released | None = None) -> Loaded:
    """Read a released file, or a custom one of the same format, without running code from it.

    Args:
        path: a `.pt` file with a state dict.
        described: the network, if the file is not one of the 15 (see `convert.flags`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds anything but weights, or the weights of another
            network.
    """
    state = read_tensors(path)
    if described is None:
        names = recognise(shapes_of(state))
        # The file name decides between files of equal shapes.
        names = (path.name,) if path.name in names else names
        described = RELEASED[names[0]]
    else:
        names = ()
    return Loaded(
        names, described, import_state(state, described.config, described.legacy_attention_order)
    )
