"""`module:function` or `file.py:function` -> a function of the user's, and its module."""

import importlib
import importlib.util
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

NUMBERS = itertools.count()  # of the files that were opened


def load_function(spec: str, of: str) -> tuple[Callable[..., Any], ModuleType]:
    """Return a function of the user's and its module. This runs the user's code.

    Args:
        spec: `module:function`, of a module that can be imported from the current folder, or
            `path/file.py:function`.
        of: what it is for, in errors.

    Raises:
        ValueError: no such module or function, an attribute that is not callable, or a file that
            cannot be loaded.
    """
    place, _, attribute = spec.rpartition(":")
    module = _module(place, spec, of)
    compute: Any = module
    for part in attribute.split("."):
        compute = getattr(compute, part, None)
    if not callable(compute):
        raise ValueError(f"no function {attribute!r} in {place}; give MODULE:FUNCTION")
    return compute, module


def _module(place: str, spec: str, of: str) -> ModuleType:
    path = Path(os.path.expanduser(place))  # pathlib's own fails where there is no such user
    if path.suffix == ".py":
        if not path.is_file():
            raise ValueError(f"no file {place} for {of} {spec!r}")
        with _importing_from(path.parent), _explain(place):
            return _load_file(path)
    with _importing_from(Path.cwd()), _explain(place):  # as `python -m` does
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{place}.".startswith(f"{error.name}."):
                raise  # the module exists, but one that it imports does not
    raise ValueError(
        f"no module {place!r} for {of} {spec!r}; start in its folder, or give path/file.py:FUNCTION"
    )


def _load_file(path: Path) -> ModuleType:
    """The module in a file, whose name may be that of another module."""
    name = f"_adm_function_{next(NUMBERS)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses resolve annotations through it
    try:
        spec.loader.exec_module(module)
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
    """Raise an error of the user's code as a ValueError that says where it occurred."""
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
