"""Tiny models, points -> every point timed and compared, those near the frontier scored, once."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from evaluation.stubs import blocks, spots, together

from adm.app.study import plan as plan_module
from adm.app.study import scoring as scoring_module
from adm.app.study.frontier import machine as machine_module
from adm.app.study.frontier import run as run_module
from adm.app.study.frontier import trial as trial_module
from adm.app.study.frontier.choose import recommended
from adm.app.study.frontier.machine import REPEATS
from adm.app.study.frontier.page import write
from adm.app.study.frontier.plan import Candidates, draws_noise, possible
from adm.app.study.frontier.point import Point, combinations
from adm.app.study.frontier.run import chosen, estimate, run
from adm.app.study.frontier.stored import Frontier, Machine, Shared, load
from adm.app.study.frontier.trial import Trial, converged_points
from adm.app.study.plan import balanced
from adm.app.study.scoring import Scorer, Scoring, cached_reference
from adm.cached import Cached
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import images_of
from adm.generation.generate import block_of
from adm.generation.job import Job
from adm.images import to_float
from adm.models.load import load_classifier, load_diffusion
from adm.processes import Devices
from adm.samplers import Sampling

pytestmark = pytest.mark.xdist_group("frontier")  # one worker makes what all of them use

COUNT, TRIAL = 6, 4
ALONE = Devices(torch.device("cpu"))
LISTED: dict[str, Sequence[Any]] = {
    "sampler": ("ddim",),
    "spacing": ("even", "quadratic"),
    "steps": (2, 5),
    "scale": (0.0, 2.0),
    "precision": ("float32",),
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Candidates]:
    folder = tmp_path_factory.mktemp("models")
    model = load_diffusion(tiny.model(folder / "model.safetensors", tiny.diffusion()))
    guide = load_classifier(tiny.model(folder / "guide.safetensors", tiny.classifier()))

    def make(**listed: Sequence[Any]) -> Candidates:
        points = combinations(**(LISTED | listed))
        return Candidates(model, guide, Sampling(), balanced(range(3), COUNT), COUNT, points)

    return make


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Scoring:
    real = tmp_path_factory.mktemp("reference")
    features = (blocks(), blocks("others"))
    return Scoring([Scorer(each, cached_reference(spots(40), each, real)) for each in features])


def trial_of(plan: Candidates, out: Path, devices: Devices = ALONE) -> Trial:
    return Trial(plan, converged_points(plan), TRIAL, out, devices)


# Five parameters: what is run and where, and what is told of it.
def ran(
    plan: Candidates,
    scoring: Scoring,
    out: Path,
    told: dict[str, list[float]] | None = None,
    devices: Devices = ALONE,
) -> Frontier | None:
    def bar(what: str, total: float) -> AbstractContextManager[Any]:
        amounts = ({} if told is None else told).setdefault(what, [total])
        return nullcontext(lambda amount, note="": amounts.append(amount))

    trial = trial_of(plan, out, devices)
    return run(trial, scoring, keep=1, shared=Shared(), batch_size=5, bar=bar)


def seconds_of(job: Job, on_step: Callable[[int], None] | None = None) -> float:
    """What the real one returns on a machine that nothing disturbs."""
    if on_step is not None:
        on_step(job.generator.evaluations * block_of(job.generator))
    cost = job.cost
    return 0.001 * (cost.network + cost.classifier)


@pytest.fixture(scope="module", autouse=True)
def clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_module, "seconds_of", seconds_of)
        patch.setattr(run_module, "seconds_of", seconds_of)
        yield


@pytest.fixture(scope="module")
def done(
    plan: Callable[..., Candidates], scoring: Scoring, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Frontier, Path, dict[str, list[float]]]:
    out, told = tmp_path_factory.mktemp("frontier"), dict[str, list[float]]()
    found = ran(plan(), scoring, out, told)
    assert found is not None
    write(found, plan(), "model.safetensors", out)
    return found, out, told


def never(*args: object, **kwargs: object) -> None:
    raise AssertionError("it was there already")


def stopped(*args: object) -> None:
    raise KeyboardInterrupt


def numbers(found: Frontier) -> list[object]:
    """What does not depend on the clock."""
    return [(one.point, one.error, one.network, one.classifier) for one in found.points]


def test_every_point_is_measured_and_those_of_the_frontier_are_scored(
    plan: Callable[..., Candidates], done: tuple[Frontier, Path, dict[str, list[float]]]
) -> None:
    found = done[0]
    assert [one.point for one in found.points] == plan().points
    assert found.features == ("blocks", "others")
    for one in found.points:
        assert one.timing.low <= one.seconds <= one.timing.high
        assert one.timing.repeats == REPEATS
        assert (one.network, one.classifier) == (
            one.point.steps,
            one.point.steps * bool(one.point.scale),
        )
    full = [one.point for one in found.points if one.distances]
    assert set(full) == set(chosen(found.points, 1))
    assert len(full) < len(found.points)
    assert {point.scale for point in full} == {0.0, 2.0}
    for scale in (0.0, 2.0):  # by the error, since all points of so many steps are as fast
        alike = [one for one in found.points if one.point.scale == scale]
        assert min(alike, key=lambda one: one.error or 9).point in full


def test_the_error_is_that_of_the_first_images_against_many_steps(
    plan: Callable[..., Candidates], done: tuple[Frontier, Path, dict[str, list[float]]]
) -> None:
    found, out, _ = done
    one = found.points[-1]
    job = plan().of([one.point], TRIAL).job(one.point)
    images = job.generator.images(job.label_tensor, range(TRIAL))
    (many,) = [each for each in converged_points(plan()) if each.scale == one.point.scale]
    wanted = images_of(out / "converged/samples" / many.name)
    assert len(wanted) == TRIAL
    expected = (to_float(images) - to_float(wanted)).pow(2).mean().sqrt()
    assert one.error == pytest.approx(float(expected))


def test_the_images_of_a_point_are_those_that_its_settings_give(
    plan: Callable[..., Candidates], done: tuple[Frontier, Path, dict[str, list[float]]]
) -> None:
    found, out, _ = done
    one = next(one for one in found.points if one.distances)
    job = plan().job(one.point)
    assert torch.equal(
        images_of(out / "samples" / one.point.name),
        job.generator.images(job.label_tensor, range(COUNT)),
    )


def test_the_same_call_makes_nothing_again(
    plan: Callable[..., Candidates],
    scoring: Scoring,
    done: tuple[Frontier, Path, dict[str, list[float]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, out, _ = done
    for module, name in (
        (trial_module, "seconds_of"),
        (plan_module, "sample_into"),
        (scoring_module, "evaluate"),
    ):
        monkeypatch.setattr(module, name, never)
    # Other work does not matter to what has been timed before.
    monkeypatch.setattr(run_module, "load_note", lambda: "busy")
    told: dict[str, list[float]] = {}
    again = ran(plan(), scoring, out, told)
    assert again is not None
    assert again.points == found.points
    assert "busy" not in again.notes
    for what, (total, *amounts) in told.items():
        assert sum(amounts) == total, what
        assert all(isinstance(each, Cached) for each in amounts)


def test_progress_adds_up_to_what_was_announced(
    done: tuple[Frontier, Path, dict[str, list[float]]],
) -> None:
    assert list(done[2]) == ["first pass", "sampling and scoring"]
    for what, (total, *amounts) in done[2].items():
        assert sum(amounts) == total, what


@pytest.mark.parametrize("where", ["while timing", "while comparing"])
def test_an_interrupted_first_pass_keeps_what_it_has(
    plan: Callable[..., Candidates],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    trial, calls = trial_of(plan(), tmp_path), list[float]()

    def counted(*args: Any) -> float:
        calls.append(0)
        if where == "while timing" and len(calls) == 7:
            raise KeyboardInterrupt
        return seconds_of(*args)

    monkeypatch.setattr(trial_module, "seconds_of", counted)
    if where == "while comparing":
        monkeypatch.setattr(
            Trial, "_compared", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
        )
    with pytest.raises(KeyboardInterrupt):
        trial.run()
    monkeypatch.undo()
    monkeypatch.setattr(trial_module, "seconds_of", counted)
    stored = sorted((tmp_path / "timings").iterdir())
    before = {path: path.read_bytes() for path in stored}
    calls.clear()
    calls.extend([0] * 100)
    trial_of(plan(), tmp_path).run()
    measured_again = len(calls) - 100
    if where == "while comparing":
        assert {path: path.read_bytes() for path in stored} == before
        assert measured_again == 0
    else:
        # 4 points, measured 3 times, and 2 calls to warm up each time; 6 calls came before.
        assert measured_again == 4 * REPEATS + 2 - (6 - 2)


def test_ranks_share_the_points_and_one_measures_all_times(
    plan: Callable[..., Candidates],
    scoring: Scoring,
    done: tuple[Frontier, Path, dict[str, list[float]]],
    tmp_path: Path,
) -> None:
    told: dict[int, dict[str, list[float]]] = {0: {}, 1: {}}
    found = together(2, lambda d: ran(plan(), scoring, tmp_path, told[d.rank], d))
    assert found[1] is None
    assert numbers(found[0]) == numbers(done[0])
    for rank in (0, 1):
        total, *amounts = told[rank]["first pass"]
        assert sum(amounts) == total
    assert told[1]["first pass"][0] < told[0]["first pass"][0]


def test_times_are_measured_once_for_points_of_the_same_operations(
    plan: Callable[..., Candidates], tmp_path: Path
) -> None:
    wide = plan(scale=(0.0, 1.0, 2.0), sampler=("ddim", "ancestral"))
    timed = trial_of(wide, tmp_path).timed
    kinds = {(point.sampler, point.steps, bool(point.scale)) for point in timed}
    assert len(timed) == len(kinds) == 2 * 2 * 2


def test_times_of_another_machine_are_not_taken(
    plan: Callable[..., Candidates],
    done: tuple[Frontier, Path, dict[str, list[float]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(done[1], tmp_path / "copy")
    monkeypatch.setattr(trial_module, "machine_of", lambda device: Machine("another", 1, "2"))
    monkeypatch.setattr(trial_module, "seconds_of", lambda *args: 77.0)
    assert {one.seconds for one in trial_of(plan(), tmp_path / "copy").run()} == {77.0}


def test_a_point_that_diverges_is_pruned_and_stops_nothing(
    plan: Callable[..., Candidates], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DiffusionGenerator.images

    def exploding(
        self: DiffusionGenerator, labels: Any, indices: Any, *rest: Any, **more: Any
    ) -> torch.Tensor:
        if self.sampling.grid.spacing == "quadratic" and len(indices) == TRIAL:
            raise FloatingPointError("NaN")
        return real(self, labels, indices, *rest, **more)

    monkeypatch.setattr(DiffusionGenerator, "images", exploding)
    found = trial_of(plan(scale=(0.0,)), tmp_path).run()
    assert {one.point.spacing: one.diverged for one in found} == {"even": False, "quadratic": True}
    assert {point.spacing for point in chosen(found, 9)} == {"even"}


@pytest.mark.parametrize(
    ("sampler", "draws"), [("ddim", False), ("ddim:eta=0.5", True), ("ancestral", True)]
)
def test_a_sampler_that_draws_noise_has_no_error_and_is_kept(
    plan: Callable[..., Candidates], tmp_path: Path, sampler: str, draws: bool
) -> None:
    few = plan(sampler=(sampler,), scale=(0.0,), spacing=("even",))
    assert draws_noise(few.job(few.points[0])) is draws
    found = trial_of(few, tmp_path).run()
    assert [one.error is None for one in found] == [draws] * 2
    assert chosen(found, 1) == few.points


def test_what_cannot_be_sampled_is_left_out_or_refused_if_it_was_asked_for(
    plan: Callable[..., Candidates],
) -> None:
    wide = plan(spacing=("even", "ddim_quadratic", "karas"), steps=(2, 6))
    kept, left_out = possible(wide, {"sampler"})
    assert {point.spacing for point in kept.points} == {"even", "ddim_quadratic"}
    assert {point.name for point in left_out} == {
        f"ddim-ddim_quadratic-6-scale{scale}-float32" for scale in (0, 2)
    }
    with pytest.raises(ValueError, match="spacing 'karas' is unknown"):
        possible(wide, {"spacing"})
    with pytest.raises(ValueError, match="steps must be in"):
        possible(plan(steps=(2, 99)), {"steps"})
    with pytest.raises(ValueError, match="steps must be in"):
        possible(plan(steps=(99,)))


def test_the_estimate_grows_with_what_there_is_to_do(
    plan: Callable[..., Candidates], tmp_path: Path
) -> None:
    trial = trial_of(plan(scale=(0.0,), spacing=("even",)), tmp_path)
    found = estimate(trial, keep=1)
    assert found.first == pytest.approx(0.001 * trial.evaluations)
    assert found.second == pytest.approx(0.001 * COUNT * (2 + 5) / 2)
    assert "2 points: about" in found.sentence(trial, 1)


def test_the_page_needs_nothing_beside_it_and_ends_in_recommended_settings(
    done: tuple[Frontier, Path, dict[str, list[float]]],
) -> None:
    found, out, _ = done
    assert load(out / "frontier.json") == found
    page, text = (out / "frontier.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    chosen = [each for scale in found.scales if (each := recommended(found, scale))]
    columns = sum(len({each.fast.point, each.best.point}) for each in chosen)
    assert len(links) == 3 + 3 * columns  # figures, and a picture for each class of each column
    assert all(link.startswith("data:image/png;base64,") for link in links)
    for outside in ("<script", "@import", "http:", "https:"):
        assert outside not in page
    assert re.findall("<h2>(.*?)</h2>", page)[-2:] == ["Recommended settings", "Settings"]
    assert all("points are sampled in full" in each for each in (page, text))
    for one in found.points:
        if one.distances:
            assert one.point.sampler in text
    assert "adm sample model.safetensors --sampler ddim" in text
    assert {path.name for path in out.glob("*.png")} == {
        "frontier-blocks.png",
        "frontier-others.png",
        "frontier-error.png",
    }


@pytest.mark.parametrize(("load_of_machine", "busy"), [(0.1, False), (3.9, True)])
def test_a_busy_machine_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch, load_of_machine: float, busy: bool
) -> None:
    monkeypatch.setattr(machine_module.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine_module.os, "getloadavg", lambda: (load_of_machine, 0, 0))
    assert (machine_module.load_note() is not None) is busy


def test_a_block_is_timed_whatever_the_number_of_images(
    plan: Callable[..., Candidates], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, sizes = plan(), list[int]()
    job = few.of(few.points, 1).job(few.points[0])
    real = DiffusionGenerator.images

    def noted(self: DiffusionGenerator, labels: Any, indices: Any, **rest: Any) -> torch.Tensor:
        sizes.append(len(indices))
        return real(self, labels, indices, **rest)

    monkeypatch.setattr(DiffusionGenerator, "images", noted)
    clock = iter([10.0, 74.0])
    monkeypatch.setattr(machine_module.time, "perf_counter", lambda: next(clock))
    assert machine_module.seconds_of(job) == 1.0
    assert sizes == [64]
    assert Point("a", "b", 1, 0.0, "c").name == "a-b-1-scale0-c"
