"""steps done -> whether to look; a picture that fails -> one line, and training goes on."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

Say: TypeAlias = Callable[[str], None]
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Times:
    """When to look: at every multiple of `every` steps done, and after the last.

    What a look returns goes into the log, so it is a function of the steps done and of the
    weights alone: a resumed run writes the log of a run that was never stopped.
    """

    every: int
    total: int

    def __post_init__(self) -> None:
        if self.every < 1 or self.total < 1:
            raise ValueError(
                f"looks need at least 1 step between them and in all, got {self.every} and "
                f"{self.total}; set watch.every_steps and train.steps"
            )

    def due(self, done: int) -> bool:
        return done % self.every == 0 or done == self.total

    @property
    def first(self) -> int:
        return min(self.every, self.total)


def to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def guarded(
    what: str, look: Callable[[int, Seen], dict[str, float]], say: Say
) -> Callable[[int, Seen], dict[str, float]]:
    """Keep a run alive when what only shows it fails: say so the first time, return nothing."""
    said = False

    def look_guarded(done: int, seen: Seen) -> dict[str, float]:
        nonlocal said
        try:
            return look(done, seen)
        except Exception as error:
            if not said:
                reason = str(error) or type(error).__name__
                say(f"{what} failed at step {done} ({reason}); training goes on without it")
            said = True
            return {}

    return look_guarded
