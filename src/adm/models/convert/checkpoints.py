"""Released .pt file -> its released name and our state dict."""

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from adm.models.convert.released import differences, import_state, released_shapes
from adm.networks import Shapes, shapes_of
from adm.recipes.released import RELEASED, Released


class Loaded(NamedTuple):
    """A released file, read.

    Attributes:
        names: every released file of this architecture; one, unless they cannot be told apart.
        released: what it is.
        state: our name -> tensor.
    """

    names: tuple[str, ...]
    released: Released
    state: dict[str, Tensor]


def recognise(shapes: Shapes) -> tuple[str, ...]:
    """Which released files have exactly these names and shapes.

    The unconditional ImageNet model and the four LSUN models share theirs, and differ in dropout
    alone, which sampling never sees; so the answer may name several. Heads do not show: a network
    of somebody's own that differs in them alone is taken for the released one.

    Raises:
        ValueError: none has; names the nearest and the settings in which it differs.
    """
    got = {name: tuple(shape) for name, shape in shapes.items()}
    if found := tuple(name for name in RELEASED if _wanted(name) == got):
        return found
    nearest = min(RELEASED, key=lambda name: len(differences(got, _wanted(name))))
    differing = differences(got, _wanted(nearest)) or [
        "some tensors are missing or of another shape"
    ]
    raise ValueError(
        f"no released file has these weights; next to {nearest}, {'; '.join(differing)}; "
        "give the flags they were trained with"
    )


def _wanted(name: str) -> dict[str, tuple[int, ...]]:
    return released_shapes(RELEASED[name].config)


def load_released(path: Path, described: Released | None = None) -> Loaded:
    """Read a released file, or one of the same kind, without running anything it holds.

    Args:
        path: a `.pt` file with a state dict.
        described: what it is, where it is not one of the 15 (see `convert.flags`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds code or something else than weights, or the weights of
            another network.
    """
    state = read_tensors(path)
    if described is None:
        names = recognise(shapes_of(state))
        # The name of the file decides between those that share their shapes.
        names = (path.name,) if path.name in names else names
        described = RELEASED[names[0]]
    else:
        names = ()
    return Loaded(
        names, described, import_state(state, described.config, described.legacy_attention_order)
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor from a file that `torch.save` wrote, memory-mapped where its format allows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds anything else than a flat dictionary of tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the path of a .pt file")
    try:
        with warnings.catch_warnings():  # of pickle protocols, ahead of the refusal
            warnings.simplefilter("ignore")
            held = torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise ValueError(f"{path} is damaged or no .pt file; fetch it again") from None
        raise ValueError(
            f"{path} holds more than weights and would run code when opened, which is refused; "
            "ask its author for the plain state dict"
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(f"{path} is damaged or no .pt file ({reason}); fetch it again") from None
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) for v in held.values()):
        raise ValueError(f"{path} holds {_kind(held)}; give a plain state dict, name -> tensor")
    return held


def _kind(held: object) -> str:
    def parts() -> Iterator[str]:
        yield type(held).__name__
        if isinstance(held, dict):
            yield f"of {', '.join(map(str, list(held)[:3]))}"

    return " ".join(parts())
