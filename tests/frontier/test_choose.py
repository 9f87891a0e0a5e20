"""Seconds, errors, distances -> the points that are retained, recommended, or fit a budget."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from adm.app.report import Cell, Table
from adm.app.study.frontier import (
    Distance,
    Frontier,
    Measured,
    load,
    on_frontier,
    round_up,
    save,
    time_of,
)
from adm.app.study.page import best_and_fast, command, recommendations, times
from adm.app.study.trial import describe_left_out, factor, select_points


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


POINTS = [
    measured("quick", 1.0, 0.9),
    measured("useless", 2.0, 1.8),  # slower and worse than quick
    measured("near", 2.0, 0.6),
    measured("good", 2.0, 0.5),
    measured("slow", 4.0, 0.2),
    measured("nan", 1.5, None),
]


def names(points: list[Measured]) -> list[str]:
    return [str(one.settings["sampler"]) for one in points]


@pytest.mark.parametrize(
    ("pairs", "ahead"),
    [
        ([(1, 9), (2, 5), (3, 5), (4, 1)], [0, 1, 3]),
        ([(3, 1), (1, 1), (2, 1)], [1]),
        ([], []),
    ],
)
def test_a_point_is_on_the_frontier_unless_another_is_as_fast_and_as_good(
    pairs: list[tuple[float, float]], ahead: list[int]
) -> None:
    actual = on_frontier(pairs, lambda pair: pair[0], lambda pair: pair[1])
    assert actual == [pairs[i] for i in ahead]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (1, ["quick", "good", "slow"]),  # never less than the frontier
        (4, ["quick", "near", "good", "slow"]),
    ],
)
def test_points_nearest_to_the_frontier_are_promising(keep: int, expected: list[str]) -> None:
    assert names(select_points(POINTS, keep)) == expected


def test_all_points_that_add_noise_are_promising_and_crowd_out_no_others() -> None:
    noisy = [replace(measured(f"noisy-{i}", 9.0 + i), random=True) for i in range(3)]
    chosen = names(select_points([*noisy, *POINTS], 1))
    assert chosen == ["noisy-0", "noisy-1", "noisy-2", "quick", "good", "slow"]
    assert "3 of them because noise is added" in describe_left_out(noisy, noisy)[0]
    assert "NaN" not in describe_left_out(noisy, noisy)[0]
    assert [cells[1] for cells in times([*noisy[:1], POINTS[-1]])] == [Cell(""), Cell("NaN")]


def test_points_of_nearly_equal_time_do_not_crowd_the_frontier() -> None:
    """Their order in time is that of the noise of the timings."""
    alike = [measured(f"alike-{i}", 1.0 + 0.01 * i, 0.5 - 0.01 * i) for i in range(5)]
    later = measured("later", 1.1, 0.4)
    assert names(on_frontier([*alike, later], time_of, lambda one: one.error or 0.0)) == [
        *(f"alike-{i}" for i in range(5)),
        "later",
    ]
    assert names(select_points([*alike, later], 1)) == ["alike-4", "later"]
    twins = [measured("twin", 1.0, 0.5), measured("slower twin", 1.01, 0.5)]
    assert names(select_points(twins, 1)) == ["twin"]


def test_nearness_is_the_error_divided_by_the_lowest_of_all_that_are_as_fast() -> None:
    near = POINTS[2]
    assert factor(near, POINTS) == pytest.approx(0.6 / 0.5)
    assert factor(POINTS[3], POINTS) == 1.0


RECOMMENDED = {
    "fast is the fastest within the interval of the best by all features": (
        [
            measured("one-sided", 1.0, distance=(10.5, 90.0)),
            measured("fast", 2.0, distance=(10.8, 50.9)),
            measured("best", 4.0, distance=(10.0, 50.5)),
            measured("other", 5.0, distance=(10.2, 50.0)),
            measured("pruned", 0.5),
        ],
        ("fast", "best"),
        ["one-sided", "best"],
    ),
    "best is as good as any by all features, and ends the budgets": (
        [
            measured("quick", 1.0, distance=(30.0, 90.0)),
            measured("first", 2.0, distance=(10.0, 90.0)),  # far off by the second features
            measured("both", 4.0, distance=(10.5, 50.0)),
            measured("later", 8.0, distance=(10.2, 80.0)),
        ],
        ("both", "both"),
        ["quick", "first", "both"],
    ),
    "best is its own fast if no point is as good by all features": (
        [measured("a", 1.0, distance=(10.0, 90.0)), measured("b", 2.0, distance=(20.0, 50.0))],
        ("a", "a"),
        ["a"],
    ),
}


@pytest.mark.parametrize("rule", RECOMMENDED)
def test_what_is_recommended_is_what_a_budget_gives(rule: str) -> None:
    points, chosen, budgets = RECOMMENDED[rule]
    whole = frontier(*points)
    assert set(whole.recommended) == {2.0}
    recommended = whole.recommended[2.0]
    assert tuple(names([recommended.fast, recommended.best])) == chosen
    assert names([each.point for each in recommended.budgets]) == budgets
    assert [whole.within(2.0, each.seconds) for each in recommended.budgets] == [
        each.point for each in recommended.budgets
    ]
    assert whole.within(2.0, 99) == recommended.best
    assert f"{chosen[1]}, even, steps 5 is best" in best_and_fast(whole)[0]


@pytest.mark.parametrize(("margin", "word"), [(1.0, "best"), (30.0, "lowest")])
def test_nothing_is_best_where_all_intervals_overlap(margin: float, word: str) -> None:
    values = {"a": (1.0, 30.0), "b": (2.0, 10.0), "c": (0.01, 50.0)}
    points = [
        measured(name, seconds, distance=(distance,), margin=margin)
        for name, (seconds, distance) in values.items()
    ]
    whole = frontier(*points)
    chosen = whole.recommended[2.0]
    (sentence,) = best_and_fast(whole)
    (table,) = [each for each in recommendations(whole, "model") if isinstance(each, Table)][-1:]
    named = [*chosen.named, *(str(row[0]) for row in table.rows)]
    assert any(word in name for name in named)
    assert (" is best" in sentence) == any("best" in name for name in named) == (word == "best")
    for column in (1, 2):  # as many decimals in all rows
        cells = [
            each.value if isinstance(each := row[column], Cell) else each for row in table.rows
        ]
        assert len({len(cell.partition(".")[2]) for cell in cells}) == 1, cells


SCORED = frontier(
    measured("quick", 0.0101, distance=(30.0,)),
    measured("middle", 0.0449, distance=(20.0,)),
    measured("worse", 0.05, distance=(25.0,)),
    measured("slow", 1.0, distance=(10.0,)),
    measured("unscored", 0.001),
    measured("other-scale", 0.001, distance=(1.0,), scale=0.0),
)


@pytest.mark.parametrize(
    ("seconds", "slower", "name"),
    [
        (0.06, 1, "middle"),  # and not the slower one that fits too
        (0.06, 2, "quick"),  # on a machine that takes twice as long
        (99, 1, "slow"),
    ],
)
def test_a_budget_takes_the_best_that_fits(seconds: float, slower: float, name: str) -> None:
    assert names([SCORED.within(2.0, seconds, slower)]) == [name]


def test_an_unmet_budget_or_scale_is_refused_with_those_that_are_met() -> None:
    with pytest.raises(ValueError, match="the fastest settings are --sampler quick --grid even"):
        SCORED.within(2.0, 0.005, slower=2)
    with pytest.raises(ValueError, match="budget must be at least ") as refused:
        SCORED.within(2.0, 0.005)
    least = float(str(refused.value).partition("at least ")[2].partition("s ")[0])
    assert names([SCORED.within(2.0, least)]) == ["quick"]
    with pytest.raises(ValueError, match="scale must be one that was measured, 0, 2, got 3"):
        SCORED.within(3.0, 1.0)


@pytest.mark.parametrize("seconds", [1e-5, 0.00999, 0.01, 0.0101, 7.05, 1234.5])
def test_a_time_is_rounded_up_to_two_digits(seconds: float) -> None:
    rounded = round_up(seconds)
    assert seconds <= rounded * (1 + 1e-9)
    assert rounded <= 1.11 * seconds
    assert float(f"{rounded:.2g}") == rounded


def test_a_command_has_all_settings() -> None:
    point = measured("ddim:eta=0.5", 1.0, distance=(1.0,))
    shared = {"seed": 0, "use_labels": False, "guide": "free:scale=2,interval=3-9"}
    assert command(frontier(point, shared=shared), "runs/a", point) == (
        "adm sample runs/a --sampler ddim:eta=0.5 --grid even --steps 5 --scale 2 "
        "--set use_labels=false --guide free:scale=2,interval=3-9 --out out/samples"
    )


def test_a_frontier_is_read_as_it_was_saved(tmp_path: Path) -> None:
    save(SCORED, tmp_path / "frontier.json")
    assert load(tmp_path / "frontier.json") == SCORED


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "points": lambda document: document.update(points=[]),
    "seconds": lambda document: document["points"][0].update(seconds=-1.0),
    "settings": lambda document: document["points"][0]["settings"].update(sampler="x" * 10_000),
    "no point has a distance": lambda document: [
        one["distances"].clear() for one in document["points"]
    ],
    "model": lambda document: document.update(model="../x"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_frontier_is_refused_with_the_place(tmp_path: Path, name: str) -> None:
    document = json.loads(json.dumps(asdict(SCORED)))
    DAMAGES[name](document)
    path = tmp_path / "frontier.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=f"is damaged .*{name}.*; run `adm frontier` again"):
        load(path)
