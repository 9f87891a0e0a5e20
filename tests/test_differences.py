"""Two records -> the first entry in which they differ, short enough for a message."""

import pytest

from adm.differences import first_difference


@pytest.mark.parametrize(
    ("stored", "requested", "message"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}, "b.d is 3 there and 4"),
        ({"a": 1}, {"a": 1, "b": 2}, "b is nothing there and 2 here"),
        ({"a": {"b": 1}}, {"a": None}, "a.b is 1 there and nothing here"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a is [1, 2] there and [1, 3] here"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "a[0].b is 1 there and 2 here"),
        ({"a": [0] * 9}, {"a": [0] * 8 + [7]}, "a[8] is 0 there and 7 here"),
        ({"a": [0] * 9}, {"a": [0] * 20}, "a is a list of 9 there and a list of 20 here"),
    ],
)
def test_the_first_difference_is_named_with_both_values(
    stored: object, requested: object, message: str | None
) -> None:
    difference = first_difference(stored, requested)
    assert difference is None if message is None else (difference or "").startswith(message)


def test_entries_that_are_free_may_differ() -> None:
    stored, requested = {"a": {"b": 1}, "c": 1}, {"a": {"b": 2}, "c": 2}
    assert first_difference(stored, requested, {"a.b"}) == "c is 1 there and 2 here"
    assert first_difference(stored, requested, {"a", "c"}) is None
