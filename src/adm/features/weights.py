"""a file of weights that somebody published -> name -> tensor, without running any of it."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def load_pickled(path: Path) -> State:
    """What `torch.save` wrote, tensors only.

    Raises:
        ValueError: the file holds something else, or is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read ({reason}); fetch the file again") from None
    if not isinstance(state, Mapping) or not all(isinstance(w, Tensor) for w in state.values()):
        raise ValueError(f"{path} holds no weights; expected a mapping of names to tensors")
    return state
