"""Number, noun -> "1 image" or "2 images"."""


def count_of(number: int, one: str, more: str | None = None) -> str:
    """Such as "2 classes" for (2, "class", "classes"); the default plural adds an s."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"
