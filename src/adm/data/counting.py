"""number, noun -> "1 image" or "2 images"."""


def count_of(number: int, one: str, more: str | None = None) -> str:
    """ "2 classes" for (2, "class", "classes"); the plural defaults to the singular with an s."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"
