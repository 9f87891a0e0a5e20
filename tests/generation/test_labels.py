"""sneaker:16,bag:4 or all:8 -> one label an image."""

import itertools
import re
from typing import Any

import numpy as np
import pytest

from adm.generation.labels import in_proportion, labels_of
from adm.limits import MOST_IMAGES

CLASSES = ("T-shirt", "sneaker", "bag", "ankle boot")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("sneaker:3,bag:2", [1, 1, 1, 2, 2]),
        ("bag,sneaker", [2, 1]),
        ("all:2", [0, 0, 1, 1, 2, 2, 3, 3]),
        ("all", [0, 1, 2, 3]),
        ("2:2", [2, 2]),
        ("BAG:1, ankle boot:1", [2, 3]),
        ("t-shirt", [0]),
        ("bag:1,bag:1,", [2, 2]),
    ],
)
def test_names_and_numbers_are_counted_out_in_order(text: str, labels: list[int]) -> None:
    assert labels_of(text, CLASSES)[0] == labels


def test_a_class_named_by_a_number_is_found_by_its_name_first() -> None:
    assert labels_of("1,0", ("1", "0"))[0] == [0, 1]


def test_a_name_may_hold_a_colon_if_its_count_is_given() -> None:
    assert labels_of("16:9:2,4:3:1", ("4:3", "16:9"))[0] == [1, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sneakr:2", "there is no class 'sneakr'; did you mean sneaker?"),
        ("boot", "there is no class 'boot'; did you mean ankle boot?"),
        (
            "4",
            "there is no class '4'; did you mean T-shirt, sneaker, bag, ankle boot?",
        ),
        ("bag:-1", "'bag:-1' is no class with a count, as bag:4 is"),
        ("bag:1.5", "'bag:1.5' is no class with a count"),
        (f"bag:{'9' * 5000}", "must be at most 10,000,000 images"),
        ("9" * 5000, "there is no class '999"),
        ("bag:9000000,sneaker:9000000", "classes must be at most 10,000,000 images"),
        ("", "classes names no class; give such as"),
    ],
)
def test_an_unknown_class_is_refused_with_suggestions(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        labels_of(text, CLASSES)


@pytest.mark.parametrize(
    "classes", [{"bag": MOST_IMAGES, "sneaker": 1}, {"all": MOST_IMAGES}, itertools.repeat("bag")]
)
def test_more_images_than_one_call_makes_are_refused(
    monkeypatch: pytest.MonkeyPatch, classes: Any
) -> None:
    if not isinstance(classes, dict):  # a shorter list of labels, for time
        monkeypatch.setattr("adm.generation.labels.MOST_IMAGES", 100)
    with pytest.raises(ValueError, match="images in one call"):
        labels_of(classes, CLASSES)


@pytest.mark.parametrize("sizes", [(5,), (3, 3, 3), (600, 30, 1), (7, 0, 2, 11), (10**9, 1)])
@pytest.mark.parametrize("count", [1, 2, 16, 1000])
def test_proportions_are_exact_to_less_than_an_image(sizes: tuple[int, ...], count: int) -> None:
    labels = in_proportion(sizes, count)
    counts = np.bincount(labels, minlength=len(sizes))
    exact = np.array(sizes) * count / sum(sizes)
    assert (len(labels), len(counts)) == (count, len(sizes))
    assert (abs(counts - exact) < 1).all()


def test_the_largest_remainders_are_rounded_up() -> None:
    labels = in_proportion((5, 3, 1), 5)  # of shares of 2.8, 1.7 and 0.6
    assert np.bincount(labels, minlength=3).tolist() == [3, 2, 0]


def test_every_part_of_the_images_has_the_proportions() -> None:
    labels = in_proportion((60, 30, 10), 1000)
    for part in labels.reshape(10, 100):
        assert np.bincount(part) == pytest.approx([60, 30, 10], abs=1)
    assert in_proportion((4, 4, 4), 6).tolist() == [0, 1, 2, 0, 1, 2]
