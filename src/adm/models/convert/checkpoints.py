"""Released .pt file -> Loaded: released names, description, our state dict."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from adm.models.convert.released import differences, flattened, import_state, released_shapes
from adm.models.pickled import read_tensors
from adm.networks import Shapes, shapes_of
from adm.recipes.released import RELEASED, Released, public_name
from adm.spec import SettingError


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


def load_released(
    path: Path, described: Released | str | Callable[[Shapes], Released] | None = None
) -> Loaded:
    """Read a released file, or a custom one of the same format, without running code from it.

    Args:
        path: a `.pt` file with a state dict.
        described: the name of a released file, or the network or what finds it from the shapes
            (see `convert.flags`); by default what the weights determine.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds anything but weights, the weights of another
            network, or those of one of several that differ in more than their weights.
    """
    try:
        state = flattened(read_tensors(path))
    except ValueError:
        check_whole(path, described if isinstance(described, str) else path.name)
        raise
    names: tuple[str, ...] = ()
    if isinstance(described, str):
        names, described = (described,), RELEASED[described]
    elif callable(described):
        described = described(shapes_of(state))
    elif described is None:
        names = one_of(recognise(shapes_of(state)), path)
        described = RELEASED[names[0]]
    return Loaded(
        names, described, import_state(state, described.config, described.legacy_attention_order)
    )


def check_whole(path: Path, file: str) -> None:
    """Raise ValueError if a file has the name of a released one, and fewer bytes than its weights.

    Truncated downloads are a known trouble (openai/guided-diffusion, issue 149).
    """
    if file not in RELEASED or not path.is_file():
        return
    least, size = RELEASED[file].remote(file).sizes[0], path.stat().st_size
    if size < least:
        raise ValueError(
            f"{path} was cut off: it has {size:,} bytes, and {file} has {least:,} or more; "
            f"download it again, or use the name {public_name(file)}"
        )


def one_of(names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Return the released files that a file may be; that of its own name alone, if it is one.

    Raises:
        SettingError: they are sampled in different ways, and the file has another name.
    """
    if path.name in names:
        return (path.name,)
    ways = {(RELEASED[name].process, RELEASED[name].legacy_attention_order) for name in names}
    if len(ways) > 1:
        raise SettingError(
            "as",
            f"given, as {path} may be {' or '.join(map(public_name, names))}, which are sampled "
            "in different ways",
            cure="name the file as it was released, or convert it: adm convert FILE --as NAME",
        )
    return names
