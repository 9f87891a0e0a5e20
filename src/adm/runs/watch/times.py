"""Steps done -> bool: whether a watch is due; Watch -> Watch that reports its errors."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

Say: TypeAlias = Callable[[str], None]
Given = TypeVar("Given")


@dataclass(frozen=True)
class Times:
    """When a run is watched: at every multiple of `every` steps done, and after the last.

    What a watch returns goes into the log, so it is a function of the steps done and of the
    weights alone: a resumed run writes the log of a run that was never stopped.

    Raises:
        ValueError: `every` or `total` below 1.
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
        return done % self.every == 0 or done == self.total

    @property
    def first(self) -> int:
        return min(self.every, self.total)


def to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def guarded(
    what: str, watch: Callable[[int, Given], dict[str, float]], say: Say
) -> Callable[[int, Given], dict[str, float]]:
    """Keep a run alive when a picture of it fails: report the first failure, return no figures.

    Args:
        what: the name of the picture, for the report.
        watch: (steps done, what it needs) -> figures.
        say: takes the report.
    """
    said = False

    def watch_guarded(done: int, given: Given) -> dict[str, float]:
        nonlocal said
        try:
            return watch(done, given)
        except Exception as error:
            if not said:
                reason = str(error) or type(error).__name__
                say(f"{what} failed at step {done} ({reason}); training goes on without it")
            said = True
            return {}

    return watch_guarded
