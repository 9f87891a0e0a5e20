"""`module:function` or `file.py:function` -> features that somebody computes in a way of their own.

The function takes images, uint8 (B, C, H, W), and gives (B, D), a tensor or an array. It may carry
`name`, `dim` and `fingerprint` of its own as attributes.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from adm.features.contract import Extracted, Features, guarded

HOW = "function 1"


def function(spec: str, device: torch.device | str = "cpu") -> Features:
    """Somebody's own features. Opening them runs their code.

    Two of them can be compared if their source is the same; so a function that reads weights should
    carry a `fingerprint` (str) that changes with them. `dim` is not known until the function says
    so or has seen an image.

    Args:
        spec: `module:function`, of a module that Python finds here, or `path/file.py:function`.

    Raises:
        ValueError: no such module or function, or it is not one.
    """
    place, _, attribute = spec.rpartition(":")
    module = _module(place, spec)
    compute = module
    for part in attribute.split("."):
        compute = getattr(compute, part, None)
    if not callable(compute):
        raise ValueError(f"no function {attribute!r} in {place}; give MODULE:FUNCTION")

    def look(images: Tensor) -> Extracted:
        return Extracted(_as_tensor(compute(images), spec))

    name = str(getattr(compute, "name", spec))
    dim = getattr(compute, "dim", None)
    return guarded(name, dim, look, _fingerprint(compute, module, attribute), device)


def _as_tensor(given: Any, spec: str) -> Tensor:
    try:
        found = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{spec} gave a {type(given).__name__}; expected a tensor or an array (B, D) of numbers"
        ) from None
    if found.is_complex():
        raise ValueError(f"{spec} gave complex numbers; give real and imaginary parts as features")
    return found


def _module(place: str, spec: str) -> ModuleType:
    path = Path(place).expanduser()
    if path.suffix == ".py":
        if not path.is_file():
            raise ValueError(f"no file {place} for the features {spec!r}")
        found = importlib.util.spec_from_file_location(path.stem, path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as `python -m` does; an installed script does not
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{place}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks another
        raise ValueError(
            f"no module {place!r} for the features {spec!r}; start where it lies, or give "
            "path/file.py:FUNCTION"
        ) from None
    finally:
        sys.path.remove(here)


def _fingerprint(compute: Callable[..., Any], module: ModuleType, attribute: str) -> str:
    own = getattr(compute, "fingerprint", None)
    source = inspect.getsource(module) if own is None else str(own)
    return hashlib.sha256(f"{HOW}\n{attribute}\n{source}".encode()).hexdigest()[:16]
