"""Published file of pickled weights -> tensors by name, without executing the pickle."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def load_pickled(path: Path) -> State:
    """Load a state dict that `torch.save` wrote; tensors only.

    Raises:
        ValueError: the file holds anything else, or is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read ({reason}); download it again") from None
    if not isinstance(state, Mapping) or not all(isinstance(w, Tensor) for w in state.values()):
        raise ValueError(
            f"{path} holds no weights; expected a mapping of names to tensors, so download it again"
        )
    return state
