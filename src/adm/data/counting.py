"""a number, what is counted -> "1 image", "2 images"."""


def count_of(number: int, one: str, more: str | None = None) -> str:
    """Such as "2 classes" for (2, "class", "classes"); without `more`, an s is added."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"
