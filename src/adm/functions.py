"""A function, `module:function` or `file.py:function` -> Function, whose errors say where."""

import importlib
import importlib.util
import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from adm.shown import shown
from adm.spec import SettingError, literal
from adm.store.hashes import sha256_of

NUMBERS = itertools.count()  # of the files that were opened


class Function:
    """A function of the user's, or what it returns; all calls of either are through this.

    Attributes:
        name: what manifests and errors call it.
        compute: the function.
        source: that of its module, or of itself; None if there is none, as of a builtin.
    """

    def __init__(self, name: str, compute: Callable[..., Any], source: str | None = None) -> None:
        self.name, self.compute, self.source = name, compute, source

    def __eq__(self, other: object) -> bool:
        mine = (self.name, self.source)
        return isinstance(other, Function) and (other.name, other.source) == mine

    def __hash__(self) -> int:
        return hash((self.name, self.source))

    @classmethod
    def of(cls, compute: Callable[..., Any]) -> "Function":
        """Return a function that was given as such, and not by its name."""
        named = compute if hasattr(compute, "__qualname__") else type(compute)
        return cls(f"{named.__module__}:{named.__qualname__}", compute, _source(named))

    def __str__(self) -> str:
        return self.name

    @property
    def sha256(self) -> str | None:
        """The hash of its source, if it has one."""
        return None if self.source is None else sha256_of(self.source.encode())

    def __call__(self, *arguments: Any) -> Any:
        """Call it.

        Raises:
            ValueError: it raises an error, or exits.
        """
        with _explain(f"{self.name} fails when it is called"):
            return self.compute(*arguments)

    def floats(self, field: str, shape: tuple[Any, ...], images: Tensor, *others: Any) -> Tensor:
        """Call it with images and other arguments, and return its tensor.

        Args:
            field: of a refusal.
            shape: of the tensor; a last `...` stands for any further dimensions, at least one.

        Raises:
            SettingError: it returns anything else.
            ValueError: it raises an error, or exits.
        """
        value = self(images, *others)
        got = type(value).__name__
        if isinstance(value, Tensor):
            known = [each for each in shape if each is not ...]
            whole = (value.ndim > len(known)) == (... in shape)
            fits = whole and [*value.shape[: len(known)]] == known
            if fits and value.is_floating_point():
                return value
            got = f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        wanted = ", ".join("..." if each is ... else str(each) for each in shape)
        raise SettingError(
            field,
            f"{{}} {literal(self.name)} returns {got} for images {tuple(images.shape)}; let it "
            f"return a tensor of floats ({wanted})",
        )


def _source(of: Any) -> str | None:
    with suppress(TypeError, OSError):
        return inspect.getsource(of)
    return None


def load_function(spec: str, of: str) -> Function:
    """Return a function of the user's by its name. This runs the user's code.

    Args:
        spec: `module:function`, of a module that can be imported from the current folder, or
            `path/file.py:function`.
        of: what it is for, in errors.

    Raises:
        ValueError: no such module or function, an attribute that is not callable, or a file that
            cannot be loaded.
    """
    place, _, attribute = spec.rpartition(":")
    if not place:
        raise ValueError(f"{shown(spec)} names no function for {of}; give MODULE:FUNCTION")
    module = _module(place, spec, of)
    compute: Any = module
    for part in attribute.split("."):
        compute = getattr(compute, part, None)
    if not callable(compute):
        raise ValueError(f"no function {attribute!r} in {place}; give MODULE:FUNCTION")
    return Function(spec, compute, _source(module))


def _module(place: str, spec: str, of: str) -> ModuleType:
    path = Path(os.path.expanduser(place))  # pathlib's own fails where there is no such user
    if path.suffix == ".py":
        if not path.is_file():
            raise ValueError(f"no file {place} for {of} {spec!r}")
        with _importing_from(path.parent), _explain(f"{place} cannot be loaded"):
            return _load_file(path)
    explained = _explain(f"{place} cannot be loaded")
    with _importing_from(Path.cwd()), explained:  # as `python -m` does
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
def _explain(what: str) -> Iterator[None]:
    """Raise an error of the user's code as a ValueError that says where in it that occurred."""
    try:
        yield
    except (Exception, SystemExit) as error:
        ours = ("<frozen ", __file__, importlib.__file__)
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [each for each in frames if not each.filename.startswith(ours)]
        within = [each for each in theirs if each.filename == theirs[0].filename]
        where = f", {within[-1].filename} line {within[-1].lineno}" if within else ""
        raise ValueError(
            f"{what} ({type(error).__name__}: {error}{where}); fix it, so that Python runs it "
            "without an error"
        ) from error
