"""Steps done -> bool: whether a watch is due; Watch -> Watch that reports its errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from adm.app.notices import notice

Say: TypeAlias = Callable[[str], None]
Given = TypeVar("Given")


@dataclass(frozen=True)
class Times:
    """When a watch is due: after every multiple of `every` steps, and after the last of `total`.

    The figures of a watch go into the log. They must be a function of the steps done and of the
    weights alone, so that a resumed run writes the same log as one that was not interrupted.

    Raises:
        ValueError: `every` or `total` is below 1.
    """

    every: int
    total: int

    def __post_init__(self) -> None:
        if self.every < 1 or self.total < 1:
            raise ValueError(
                f"every and total must be at least 1 step, got {self.every} and {self.total}; "
                "set watch.every_steps and train.steps"
            )

    def due(self, done: int) -> bool:
        """Return whether a watch is due after `done` steps."""
        return done % self.every == 0 or done == self.total

    @property
    def first(self) -> int:
        """The number of steps after which a watch is due first."""
        return min(self.every, self.total)


def to_stderr(message: str) -> None:
    """Print a message to standard error, unless notices are switched off."""
    notice(message)


def guarded(
    what: str, watch: Callable[[int, Given], dict[str, float]], say: Say
) -> Callable[[int, Given], dict[str, float]]:
    """Return a watch that reports its first exception and returns no figures if `watch` fails.

    Args:
        what: the name of the picture, for the report.
        watch: a function of the steps done and one other argument that returns figures.
        say: called with the report.
    """
    said = False

    def watch_guarded(done: int, given: Given) -> dict[str, float]:
        nonlocal said
        try:
            return watch(done, given)
        except Exception as error:
            if not said:
                reason = str(error) or type(error).__name__
                say(f"{what} failed at step {done} ({reason}); training continues without it")
            said = True
            return {}

    return watch_guarded
