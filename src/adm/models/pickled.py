"""File of torch.save -> tensors by name, without executing its pickle."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from adm.shown import printable, short, shown

State: TypeAlias = Mapping[str, Tensor]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict, memory-mapped if its format allows it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds anything but a flat dictionary of dense tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the path of a .pt file")
    try:
        state = _loaded(path)
    # The one parser that is not ours: its code for damaged pickles raises whatever the operation
    # that meets the damage does, such as IndexError, AttributeError, UnicodeDecodeError,
    # struct.error, OverflowError and MemoryError.
    except Exception as error:
        if "Weights only load failed" in str(error) and isinstance(error, pickle.UnpicklingError):
            raise ValueError(
                f"{path} holds more than weights and could run code, so it was not loaded; "
                "ask its author for a plain state dict"
            ) from None
        raise ValueError(
            f"{path} is damaged or not a .pt file{_reason(error)}; download it again"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        keys = f" of {', '.join(map(shown, list(state)[:3]))}" if isinstance(state, dict) else ""
        what = f"{type(state).__name__}{keys}"
        raise ValueError(f"{path} holds {what}; give a plain state dict, name -> tensor")
    for name, tensor in state.items():
        odd = _oddity(tensor) if isinstance(name, str) else "a name that is no text"
        if odd is not None:
            raise ValueError(
                f"{path} holds a tensor {shown(name)} with {odd}; give a plain state dict of dense "
                "real tensors"
            )
    return state


def _reason(error: Exception) -> str:
    """Return torch's message on a file; Python's on its own operations would not help."""
    if not isinstance(error, OSError | RuntimeError | pickle.UnpicklingError | _Compressed):
        return ""
    text = short(printable(str(error).partition("\n")[0].partition(". ")[0]))
    return f" ({text})" if text else ""


class _Compressed(ValueError):
    """Records that may be larger than memory."""


def _loaded(path: Path) -> object:
    zipped = zipfile.is_zipfile(path)
    if zipped:
        with zipfile.ZipFile(path) as file:
            if any(each.compress_type != zipfile.ZIP_STORED for each in file.infolist()):
                raise _Compressed("it is compressed")
    with warnings.catch_warnings():  # warnings about pickle protocols; errors follow
        warnings.simplefilter("ignore")
        return torch.load(path, "cpu", weights_only=True, mmap=zipped)


def _oddity(tensor: Tensor) -> str | None:
    """Return what a tensor has that no weight has; None for a dense real one."""
    strided = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized
    if not strided or tensor.device.type != "cpu":
        return "no dense values"
    return "complex values" if tensor.is_complex() else None
