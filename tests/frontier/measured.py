"""Numbers -> Measured points and a Frontier of them, without any model."""

from typing import Any

from adm.app.study.frontier.point import Point
from adm.app.study.frontier.stored import (
    Distance,
    Frontier,
    Machine,
    Measured,
    Network,
    Shared,
    Timing,
)

MACHINE = Machine("a processor", 2, "2.0")
NETWORK = Network("tiny", "model.safetensors", "0" * 64, 4, 0.99)


def measured(
    name: str,
    seconds: float,
    error: float | None = None,
    distance: tuple[float, ...] = (),
    *,
    scale: float = 2.0,
    diverged: bool = False,
    margin: float = 1.0,
) -> Measured:
    """A point whose sampler is `name`; each distance has an interval of +- `margin`."""
    point = Point(name, "even", 5, scale, "float32")
    timing = Timing(seconds, 0.9 * seconds, 1.2 * seconds, 3)
    distances = {
        f"features-{i}": Distance(value, value - margin, value + margin)
        for i, value in enumerate(distance)
    }
    return Measured(point, 5, 5 if scale else 0, timing, error, diverged, distances)


def frontier(*points: Measured, **changes: Any) -> Frontier:
    names = next(tuple(one.distances) for one in points if one.distances)
    parts: dict[str, Any] = {
        "model": NETWORK,
        "classifier": None,
        "machine": MACHINE,
        "versions": {"torch": "2.0"},
        "shared": Shared(),
        "seed": 0,
        "count": 100,
        "trial_count": 16,
        "features": names,
        "points": points,
    }
    return Frontier(**(parts | changes))
