"""scores over the scale -> sentences that claim what the intervals allow, and no more."""

import pytest

from adm.app.study.curve import Line, Series, lowest_of_all, sentences
from adm.app.study.page import marks
from adm.app.study.plots import figure
from adm.pictures import png
from adm.scoring import Score

SCALES = ("0", "1", "2", "4")
RISING, FALLING, VALLEY = (0.6, 0.7, 0.8, 0.9), (0.7, 0.6, 0.5, 0.3), (10.0, 6.0, 8.0, 20.0)
NAMES = ("FID", "precision", "recall")


def scores(values: tuple[float, ...], half: float = 0.01) -> list[Score]:
    return [Score(value, value - half, value + half) for value in values]


def line(
    distance: tuple[float, ...],
    precision: tuple[float, ...],
    recall: tuple[float, ...],
    half: float,
) -> Line:
    series = zip(NAMES, (distance, precision, recall), strict=True)
    return Line("", *(Series(name, SCALES, scores(values, half)) for name, values in series))


def sentences_of(*values: tuple[float, ...], half: float = 0.01) -> list[str]:
    distance, precision, recall = values
    return sentences(*line(distance, precision, recall, half)[1:])


def test_each_score_is_described() -> None:
    claims = sentences_of(VALLEY, RISING, FALLING)
    assert claims[0].startswith("Precision rises from 0.600")
    assert claims[1].startswith("Recall falls from 0.700")
    assert "lowest at scale 1, 6.000 (5.990 to 6.010), against" in claims[2]
    peak = sentences_of(VALLEY, (0.6, 0.7, 0.9, 0.5), FALLING)
    assert peak[0].startswith("Precision falls from 0.600")
    assert "after a peak of 0.900" in peak[0]


@pytest.mark.parametrize("half", [0.16, 3.0])
def test_what_lies_within_the_intervals_is_not_claimed(half: float) -> None:
    claims = sentences_of(VALLEY, RISING, FALLING, half=half)
    assert "Precision does not change beyond its intervals" in claims[0]
    assert claims[2].endswith("from scale 0 is within the intervals.") == (half == 3.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((5.0, 6.0, 8.0, 20.0), "at scale 0, 5.000 (4.990 to 5.010), against 20.000"),
        ((9.0, 6.0, 3.0, 2.0), "at scale 4, 2.000 (1.990 to 2.010), against 9.000"),
    ],
)
def test_a_distance_that_is_lowest_at_an_end_is_stated(
    values: tuple[float, ...], words: str
) -> None:
    assert words in sentences_of(values, RISING, FALLING)[2]


def test_the_best_and_all_that_may_equal_it_are_marked() -> None:
    ends = [Score(3.0, 2.9, 3.1), Score(3.2, 3.05, 3.4), Score(9.0, 8.0, 10.0)]
    assert marks("frechet", ends) == [True, True, False]
    assert marks("precision", ends) == [False, False, True]


def test_none_is_marked_where_all_may_be_equal_or_an_interval_is_unknown() -> None:
    assert marks("frechet", scores((1.0, 1.1, 1.2), half=0.5)) == [False] * 3
    assert marks("frechet", [Score(1.0), Score(2.0)]) == [False] * 2
    assert marks("frechet", [Score(1.0, 0.9, 1.1), Score(2.0)]) == [False] * 2
    assert marks("frechet", scores((1.0,))) == [False]


def test_only_a_distance_that_is_clearly_lowest_has_a_ring() -> None:
    assert lowest_of_all(scores(VALLEY)) == 1
    assert lowest_of_all(scores(VALLEY, half=1.5)) is None
    assert lowest_of_all([Score(value) for value in VALLEY]) is None
    assert lowest_of_all(scores((1.0,))) is None


def test_the_figure_is_the_same_every_time() -> None:
    lines = [line(VALLEY, RISING, FALLING, 0.05)._replace(name=f"way {i}") for i in range(3)]
    first, second = (png(figure(lines, "scale", "FID", "inception")) for _ in range(2))
    assert first == second
