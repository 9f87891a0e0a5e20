"""Argument of a public function, types or limits -> ValueError unless it is within them."""

from adm.shown import shown


def check(name: str, value: object, kinds: tuple[type, ...], wanted: str) -> None:
    """Raise ValueError, which names the argument, unless the value has one of these types."""
    if not isinstance(value, kinds):
        text = repr(value)
        told = f" {shown(value)}" if len(text) < 60 and "\n" not in text else ""
        raise ValueError(f"{name} must be {wanted}, got {type(value).__name__}{told}")


def check_grid(steps: int, start: int | None, last: int) -> int:
    """Return the level at which sampling starts, of a process with T = `last`.

    Raises:
        ValueError: `start` or `steps` is out of range.
    """
    first = last if start is None else start
    if not 2 <= first <= last:
        raise ValueError(f"start must be a level in 2..{last}, got {first}")
    if not 2 <= steps <= first:
        raise ValueError(f"steps must be in 2..{first}, got {steps}")
    return first
