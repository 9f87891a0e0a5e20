"""`module:function` or `file.py:function` -> Features that a user's function computes.

The function maps images, uint8 (B, C, H, W), to a tensor or an array (B, D). It may have the
attributes `name` (str), `dim` (int) and `fingerprint` (str).
"""

from typing import Any

import torch
from torch import Tensor

from adm.features.contract import Extracted, Features, make_features
from adm.functions import Function, load_function
from adm.store.hashes import sha256_of

HOW = "function 1"


def function_features(spec: str, device: torch.device | str = "cpu") -> Features:
    """Features that a user's function computes. Opening them runs the user's code.

    By default the fingerprint is a hash of the module's source, so a function that reads weights
    should have a `fingerprint` that changes with them.

    Args:
        spec: `module:function`, of a module that can be imported from the current folder, or
            `path/file.py:function`.

    Raises:
        ValueError: no such module or function, an attribute that is not callable, a file that
            cannot be loaded, or a module without source.
    """
    function = load_function(spec, "the features")

    def extract(images: Tensor) -> Extracted:
        return Extracted(_as_tensor(function(images), spec))

    name = str(getattr(function.compute, "name", spec))
    dim = getattr(function.compute, "dim", None)
    return make_features(name, dim, extract, _fingerprint(function), device)


def _as_tensor(output: Any, spec: str) -> Tensor:
    try:
        tensor = torch.as_tensor(output)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{spec} returned a {type(output).__name__}; expected a tensor or an array (B, D) of "
            "numbers"
        ) from None
    if tensor.is_complex():
        raise ValueError(
            f"{spec} returned complex numbers; return real and imaginary parts as features"
        )
    return tensor


def _fingerprint(function: Function) -> str:
    place, _, attribute = function.name.rpartition(":")
    source = getattr(function.compute, "fingerprint", function.source)
    if source is None:
        raise ValueError(
            f"{place} has no source from which to fingerprint {attribute}; call it in a function "
            "in a file of yours"
        )
    return sha256_of(f"{HOW}\n{attribute}\n{source}".encode())[:16]
