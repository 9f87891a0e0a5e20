"""Independent checks -> one error that holds the messages of all that fail."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
OBSTACLES = (ValueError, OSError)


class Obstacles(ValueError):
    """Several independent errors of the user, for each of which `main` prints a line."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__("\n".join(" ".join(str(error).split()) for error in errors))
        self.errors = tuple(errors)


class Check(Protocol):
    """Calls a function that checks arguments, and keeps its error."""

    def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the result of the call; None if it raises a ValueError or an OSError."""
        ...


@contextmanager
def gathered() -> Iterator[Check]:
    """Yield a function that calls checks; when the block ends, raise the errors of all.

    Raises:
        ValueError: a check failed; an `Obstacles` if several did, and the error itself if one did.
        OSError: the one check that failed raised it.
    """
    found: list[Exception] = []

    def check(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return call(*args, **kwargs)
        except OBSTACLES as error:
            known = {str(each) for each in found}
            found.extend(each for each in errors_of(error) if str(each) not in known)
            return None

    yield check
    if len(found) == 1:
        raise found[0]
    if found:
        raise Obstacles(found)


def errors_of(error: Exception) -> tuple[Exception, ...]:
    """Return the errors that an error consists of, itself if it is a single one."""
    return error.errors if isinstance(error, Obstacles) else (error,)
