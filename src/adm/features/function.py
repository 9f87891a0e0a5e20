"""`module:function` or `file.py:function` -> Features that a user's function computes.

The function maps images, uint8 (B, C, H, W), to a tensor or an array (B, D). It may have the
attributes `name` (str), `dim` (int) and `fingerprint` (str).
"""

import importlib
import importlib.util
import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from adm.features.contract import Extracted, Features, make_features
from adm.store.hashes import sha256_of

HOW = "function 1"
NUMBERS = itertools.count()  # of the files that were opened


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
    place, _, attribute = spec.rpartition(":")
    module = _module(place, spec)
    compute = module
    for part in attribute.split("."):
        compute = getattr(compute, part, None)
    if not callable(compute):
        raise ValueError(f"no function {attribute!r} in {place}; give MODULE:FUNCTION")

    def extract(images: Tensor) -> Extracted:
        return Extracted(_as_tensor(compute(images), spec))

    name = str(getattr(compute, "name", spec))
    dim = getattr(compute, "dim", None)
    return make_features(name, dim, extract, _fingerprint(compute, module, attribute), device)


def _as_tensor(given: Any, spec: str) -> Tensor:
    try:
        found = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{spec} returned a {type(given).__name__}; expected a tensor or an array (B, D) of "
            "numbers"
        ) from None
    if found.is_complex():
        raise ValueError(
            f"{spec} returned complex numbers; return real and imaginary parts as features"
        )
    return found


def _module(place: str, spec: str) -> ModuleType:
    path = Path(os.path.expanduser(place))  # pathlib's own fails where there is no such user
    if path.suffix == ".py":
        if not path.is_file():
            raise ValueError(f"no file {place} for the features {spec!r}")
        with _importing_from(path.parent), _explain(place):
            return _load_file(path)
    with _importing_from(Path.cwd()), _explain(place):  # as `python -m` does
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{place}.".startswith(f"{error.name}."):
                raise  # the module exists, but one that it imports does not
    raise ValueError(
        f"no module {place!r} for the features {spec!r}; start in its folder, or give "
        "path/file.py:FUNCTION"
    )


def _load_file(path: Path) -> ModuleType:
    """The module in a file, whose name may be that of another module."""
    name = f"_adm_features_{next(NUMBERS)}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses resolve annotations through it
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path."""
    first = str(folder.resolve())
    sys.path.insert(0, first)
    try:
        yield
    finally:
        if first in sys.path:
            sys.path.remove(first)


@contextmanager
def _explain(place: str) -> Iterator[None]:
    """Raise errors of the user's code as one ValueError that says where they occurred."""
    try:
        yield
    except (Exception, SystemExit) as error:
        ours = ("<frozen ", __file__, importlib.__file__)
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [each for each in frames if not each.filename.startswith(ours)]
        where = f", {theirs[-1].filename} line {theirs[-1].lineno}" if theirs else ""
        raise ValueError(
            f"{place} cannot be loaded ({type(error).__name__}: {error}{where}); fix it, so that "
            "Python runs it without an error"
        ) from error


def _fingerprint(compute: Callable[..., Any], module: ModuleType, attribute: str) -> str:
    own = getattr(compute, "fingerprint", None)
    try:
        source = inspect.getsource(module) if own is None else str(own)
    except (TypeError, OSError):
        raise ValueError(
            f"{module.__name__} has no source from which to fingerprint {attribute}; call it in a "
            "function in a file of yours"
        ) from None
    return sha256_of(f"{HOW}\n{attribute}\n{source}".encode())[:16]
