"""Numbers -> Measured points and a Frontier of them, without any model."""

from typing import Any

from adm.app.study.frontier.stored import Distance, Frontier, Measured


def measured(
    name: str,
    seconds: float,
    error: float | None = None,
    distance: tuple[float, ...] = (),
    *,
    scale: float = 2.0,
    margin: float = 1.0,
) -> Measured:
    """A point whose sampler is `name`; each distance has an interval of +- `margin`."""
    distances = {
        f"features-{i}": Distance(value, value - margin, value + margin)
        for i, value in enumerate(distance)
    }
    return Measured(
        settings={"sampler": name, "grid": "even", "steps": 5, "scale": scale},
        seconds=seconds,
        low=0.9 * seconds,
        high=1.2 * seconds,
        network=5,
        classifier=5 if scale else 0,
        error=error,
        distances=distances,
    )


def frontier(*points: Measured, **changes: Any) -> Frontier:
    names = next(tuple(one.distances) for one in points if one.distances)
    parts: dict[str, Any] = {
        "model": "0" * 64,
        "classifier": None,
        "machine": "a processor, 2 threads, torch 2.0",
        "shared": {"seed": 0},
        "count": 100,
        "trial_count": 16,
        "features": names,
        "points": points,
    }
    return Frontier(**(parts | changes))
