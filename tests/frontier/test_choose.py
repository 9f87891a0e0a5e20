"""Seconds, errors, distances -> the points that are kept, recommended, or fit a budget."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from frontier.measured import frontier, measured

from adm.app.study.frontier.choose import (
    check_scale,
    factor,
    kept,
    on_frontier,
    recommended,
    rounded_up,
    spoken,
    time_of,
    within,
)
from adm.app.study.frontier.point import Point, combinations
from adm.app.study.frontier.stored import Measured, Shared, load, save
from adm.app.study.frontier.summary import command, sentences

POINTS = [
    measured("quick", 1.0, 0.9),
    measured("useless", 2.0, 1.8),  # slower and worse than quick
    measured("near", 2.0, 0.6),
    measured("good", 2.0, 0.5),
    measured("slow", 4.0, 0.2),
    measured("nan", 1.5, None, diverged=True),
    measured("noisy", 8.0, None),
]


def names(points: list[Measured]) -> list[str]:
    return [one.point.sampler for one in points]


@pytest.mark.parametrize(
    ("pairs", "ahead"),
    [
        ([(1, 9), (2, 5), (3, 5), (4, 1)], [0, 1, 3]),
        ([(3, 1), (1, 1), (2, 1)], [1]),
        ([(1, 4), (1, 2)], [1]),  # of two as fast, the better one
        ([], []),
    ],
)
def test_a_point_is_on_the_frontier_unless_another_is_as_fast_and_as_good(
    pairs: list[tuple[float, float]], ahead: list[int]
) -> None:
    found = on_frontier(pairs, lambda pair: pair[0], lambda pair: pair[1])
    assert found == [pairs[i] for i in ahead]


@pytest.mark.parametrize(
    ("keep", "wanted"),
    [
        (1, ["quick", "good", "slow", "noisy"]),  # never less than the frontier
        (4, ["quick", "near", "good", "slow", "noisy"]),
        (9, ["quick", "useless", "near", "good", "slow", "noisy"]),
    ],
)
def test_points_nearest_to_the_frontier_are_kept_and_all_that_draw_noise(
    keep: int, wanted: list[str]
) -> None:
    assert names(kept(POINTS, keep)) == wanted


def test_points_of_nearly_equal_time_do_not_crowd_the_frontier() -> None:
    """Their order in time is that of the noise of the timings."""
    alike = [measured(f"alike-{i}", 1.0 + 0.01 * i, 0.5 - 0.01 * i) for i in range(5)]
    later = measured("later", 1.1, 0.4)
    assert names(on_frontier([*alike, later], time_of, lambda one: one.error or 0.0)) == [
        *(f"alike-{i}" for i in range(5)),
        "later",
    ]
    assert names(kept([*alike, later], 1)) == ["alike-4", "later"]
    twins = [measured("twin", 1.0, 0.5), measured("slower twin", 1.01, 0.5)]
    assert names(kept(twins, 1)) == ["twin"]


def test_nearness_is_the_error_divided_by_the_lowest_of_all_that_are_as_fast() -> None:
    near = POINTS[2]
    assert factor(near, POINTS) == pytest.approx(0.6 / 0.5)
    assert factor(POINTS[3], POINTS) == 1.0


def test_fast_is_the_fastest_within_the_interval_of_the_best_by_all_features() -> None:
    found = recommended(
        frontier(
            measured("one-sided", 1.0, distance=(10.5, 90.0)),
            measured("fast", 2.0, distance=(10.8, 50.9)),
            measured("best", 4.0, distance=(10.0, 50.5)),
            measured("other", 5.0, distance=(10.2, 50.0)),
            measured("pruned", 0.5),
        ),
        2.0,
    )
    assert found is not None
    assert names([found.fast, found.best]) == ["fast", "best"]
    assert names([each.point for each in found.budgets]) == ["one-sided", "best"]


def test_the_best_is_as_good_as_any_by_all_features_and_ends_the_budgets() -> None:
    """Here `first` has the lowest distance by the first features, and is far off by the second."""
    points = frontier(
        measured("quick", 1.0, distance=(30.0, 90.0)),
        measured("first", 2.0, distance=(10.0, 90.0)),
        measured("both", 4.0, distance=(10.5, 50.0)),
        measured("later", 8.0, distance=(10.2, 80.0)),
    )
    found = recommended(points, 2.0)
    assert found is not None
    assert names([found.fast, found.best]) == ["both", "both"]
    assert names([each.point for each in found.budgets]) == ["quick", "first", "both"]
    assert names([within(points, 2.0, seconds) for seconds in (3.0, 9.0)]) == ["first", "both"]
    assert "both, even, 5 steps, float32 is best" in sentences(points)[0]


def test_the_best_is_its_own_fast_if_no_point_is_as_good_by_all_features() -> None:
    points = measured("a", 1.0, distance=(10.0, 90.0)), measured("b", 2.0, distance=(20.0, 50.0))
    found = recommended(frontier(*points), 2.0)
    assert found is not None
    assert names([found.fast, found.best]) == ["a", "a"]
    assert recommended(frontier(*points), 0.0) is None


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
        (0.0101, 1, "quick"),
        (0.06, 1, "middle"),  # and not the slower one that fits too
        (0.06, 2, "quick"),  # on a machine that takes twice as long
        (0.06, 0.5, "middle"),
        (99, 1, "slow"),
    ],
)
def test_a_budget_takes_the_best_that_fits(seconds: float, slower: float, name: str) -> None:
    assert names([within(SCORED, 2.0, seconds, slower)]) == [name]


def test_a_budget_that_nothing_meets_is_refused_with_one_that_is_met() -> None:
    with pytest.raises(ValueError, match=r"in 5 ms; the fastest, --sampler quick .* take 20.2 ms"):
        within(SCORED, 2.0, 0.005, slower=2)
    with pytest.raises(ValueError, match="pass budget=") as refused:
        within(SCORED, 2.0, 0.005)
    told = float(str(refused.value).rpartition("budget='")[2].removesuffix("s'"))
    assert names([within(SCORED, 2.0, told)]) == ["quick"]


def test_each_recommended_budget_gives_the_point_beside_it() -> None:
    found = recommended(SCORED, 2.0)
    assert found is not None
    assert [within(SCORED, 2.0, each.seconds) for each in found.budgets] == [
        each.point for each in found.budgets
    ]


@pytest.mark.parametrize("seconds", [1e-5, 0.00999, 0.01, 0.0101, 0.123, 1.0, 7.05, 99.1, 1234.5])
def test_a_time_is_rounded_up_to_two_digits(seconds: float) -> None:
    told = rounded_up(seconds)
    assert seconds <= told * (1 + 1e-9)
    assert told <= 1.11 * seconds
    assert float(f"{told:.2g}") == told


def test_a_scale_that_was_not_measured_is_refused_with_those_that_were() -> None:
    check_scale(SCORED, 2.0)
    with pytest.raises(ValueError, match=r"scale 3 was not measured, only 0, 2; pass one"):
        check_scale(SCORED, 3.0)


def test_the_summary_names_the_fast_settings_and_what_they_save() -> None:
    points = measured("fast", 0.02, distance=(10.5,)), measured("best", 0.2, distance=(10.0,))
    (said,) = sentences(frontier(*points))
    assert "At scale 2, best, even, 5 steps, float32 is best, with a Fréchet distance" in said
    assert "(features-0) of 10.0 in 200 ms an image; " in said
    assert "fast, even, 5 steps, float32 takes 20 ms, 10.0 times less, for 10.5" in said


def test_a_command_has_all_settings() -> None:
    point = measured("ddim:eta=0.5", 1.0, distance=(1.0,))
    shared = Shared(start=980, without_label=True, guide_interval=(100, 700), guide_every=2)
    assert command(frontier(point, shared=shared), "runs/a", point) == (
        "adm sample runs/a --sampler ddim:eta=0.5 --spacing even --steps 5 --scale 2 --precision "
        "float32 --start 980 --without-label --guide-interval 100,700 --guide-every 2 --out "
        "out/samples"
    )


def test_points_have_names_of_their_own() -> None:
    points = combinations(
        sampler=("ddim", "ddim:eta=0.5"),
        spacing=("even", "karras"),
        steps=(5, 8),
        scale=(0.0, 0.12345671, 0.12345672),
        precision=("float32", "bfloat16"),
        end=(None, 3.0, 3.5),
    )
    assert len({point.name for point in points}) == len(points) == 144
    with pytest.raises(ValueError, match="steps must be one or more different values"):
        combinations(sampler=("ddim",), steps=(5, 5))


def test_a_frontier_is_read_as_it_was_saved(tmp_path: Path) -> None:
    save(SCORED, tmp_path / "frontier.json")
    assert load(tmp_path / "frontier.json") == SCORED


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "format": lambda told: told.update(format=2),
    "machine": lambda told: told["machine"].update(threads=0),
    "points": lambda told: told.update(points=[]),
    "median": lambda told: told["points"][0]["timing"].update(median=-1.0),
    "steps": lambda told: told["points"][0]["point"].update(steps="5"),
    "sampler": lambda told: told["points"][0]["point"].update(sampler="x" * 1000),
    "distance by one of the features": lambda told: told["points"][0].update(
        distances={"strange": {"value": 1.0, "low": None, "high": None}}
    ),
    "no point has a distance": lambda told: [one["distances"].clear() for one in told["points"]],
    "sha256": lambda told: told["model"].update(sha256="../x"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_frontier_is_refused_with_the_place(tmp_path: Path, name: str) -> None:
    told = json.loads(json.dumps(asdict(SCORED)))
    DAMAGES[name](told)
    path = tmp_path / "frontier.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=f"is damaged .*{name}.*; run `adm frontier` again"):
        load(path)


@pytest.mark.parametrize(
    ("seconds", "said"), [(1.523, "1.52 s"), (0.0494, "49.4 ms"), (0.00031, "0.31 ms")]
)
def test_times_are_said_in_their_unit(seconds: float, said: str) -> None:
    assert spoken(seconds) == said


def test_the_settings_of_a_point_are_those_that_sampling_takes() -> None:
    from adm.samplers import Sampling
    from adm.samplers.words import changed

    point = Point("ddim:eta=0.5", "quadratic", 7, 1.5, "bfloat16")
    made = changed(Sampling(), **point.settings)
    assert (made.sampler.name, made.grid.spacing, made.grid.steps) == ("ddim", "quadratic", 7)
    assert (made.scale, made.precision) == (1.5, "bfloat16")
    point = Point("ddim", "karras", 7, 1.5, "float32", 3.5)
    grid = changed(made, **point.settings).grid
    assert (grid.spacing, grid.steps, grid.end) == ("karras", 7, 3.5)
    assert "--end 3.5" in point.options
    assert str(point) == "ddim, karras to 3.5, 7 steps, float32"
