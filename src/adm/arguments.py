"""Argument of a public function, types -> ValueError unless it has one of them."""


def check(name: str, value: object, kinds: tuple[type, ...], wanted: str) -> None:
    """Raise ValueError, which names the argument, unless the value has one of these types."""
    if not isinstance(value, kinds):
        shown = repr(value)
        told = f" {shown}" if len(shown) < 60 and "\n" not in shown else ""
        raise ValueError(f"{name} must be {wanted}, got {type(value).__name__}{told}")
