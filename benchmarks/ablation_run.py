"""Plan -> training steps of every row; Job -> a trained network, and scores on its way."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ablation_plan import Plan, Row
from ablation_scores import (
    Point,
    RunScores,
    Timed,
    Times,
    read_run,
    read_times,
    store_run,
    store_times,
)
from ablation_tasks import Stop, check
from results_plan import Contest
from torch import Tensor

from adm import losses
from adm.data import Source, open_source
from adm.diffusion import VELOCITY, cosine
from adm.diffusion.likelihood import per_image
from adm.features import Features, open_features
from adm.generation.labels import in_proportion
from adm.generation.pipeline import Pipeline
from adm.images import to_float
from adm.models.trained import DiffusionModel
from adm.networks import parameters_of
from adm.processes import Devices
from adm.progress import Display, displayed
from adm.recipes import DiffusionRecipe
from adm.recipes.schema import DataSettings
from adm.runs.data import DataOptions, TrainingData, choose, known_facts, open_data
from adm.runs.processor import describe_processor
from adm.runs.run import TrainOptions, train_steps
from adm.runs.watch.watched import Watched, Weights
from adm.scoring import Reference, cached_reference, evaluate
from adm.scoring.manifest import versions
from adm.scoring.report import StoredScore
from adm.spec import to_json
from adm.store.files import user_cache
from adm.training.batches import with_draws
from adm.training.learner import Learner
from adm.training.loop import Progress, Watch
from adm.training.settings import EARLY

WARM_UP, ROUNDS = 2, 7  # steps of a row that are not timed, and that are; none saves a checkpoint
HELD_OUT, BATCH = 2000, 100  # images of the velocity error, and how many are evaluated at a time
LEVELS = range(25, 1000, 50)  # of the cosine schedule, at whose noise it is measured
CPU = Devices(torch.device("cpu"))

assert WARM_UP + ROUNDS < EARLY


@dataclass(frozen=True)
class Job:
    """A row to train from a seed."""

    row: Row
    seed: int

    def folder(self, place: Path) -> Path:
        return place / "runs" / f"{self.row.name}-{self.seed}"


def jobs(plan: Plan, place: Path) -> list[Job]:
    """Return what is left to do: all rows of a seed before the next seed."""
    times = read_times(plan, place)
    return [
        Job(row, seed)
        for seed in range(plan.seeds)
        for row in plan.networks()
        if times is None or row.name not in times.rows or _left(plan, place, times, row, seed)
    ]


def _left(plan: Plan, place: Path, times: Times, row: Row, seed: int) -> list[int]:
    """Return the steps after which a run is yet to be scored."""
    record = read_run(plan, place, row, seed)
    return [mark for mark in times.marks(row.name) if record is None or record.at(mark) is None]


def prepare(plan: Plan, place: Path, stop: Stop) -> None:
    """Measure the steps of every row, and make the references of the scores, once for all runs."""
    clock(replace(plan, chosen=None), place, stop)  # all rows: the slowest decides on equal steps
    sized = opened(plan, plan.rows[0], 0, None, place / "runs").recipe.data
    for features in plan.contest.features:
        reference(plan.contest, sized, features, stop)


def clock(plan: Plan, place: Path, stop: Stop = lambda: False) -> Times:
    """Return the training steps of every row, which an earlier call may have measured.

    The rows take steps in turn, so that other work on the machine slows all of them alike. Rows
    that are added later are timed beside the base, and take the base's time from before.
    """
    times = read_times(plan, place) or Times(plan.seconds, describe_processor(), versions())
    known = times.rows
    missing = [
        row
        for row in plan.networks()
        if row.name not in known or set(known[row.name].settings) != set(plan.settings(row))
    ]
    if not missing:
        return times
    base, *_ = plan.rows
    beside = [row for row in [base] if row not in missing]
    taken = step_seconds(plan, [*beside, *missing], stop)
    slower = taken[base.name] / known[base.name].step_seconds if beside else 1.0
    timed = {row.name: taken[row.name] / slower for row in missing}
    times = times.with_rows(
        {
            row.name: Timed(plan.settings(row), timed[row.name], affordable(plan, timed[row.name]))
            for row in missing
        }
    )
    store_times(times, place)
    return times


def affordable(plan: Plan, step_seconds: float) -> int:
    """Return the number of steps that fit into the time of a row, at least one."""
    return max(1, int(plan.seconds / step_seconds))


def step_seconds(plan: Plan, rows: Sequence[Row], stop: Stop = lambda: False) -> dict[str, float]:
    """Return the median seconds of a processor for a training step of each row."""
    taken: dict[str, list[float]] = {row.name: [] for row in rows}
    with single_thread(), TemporaryDirectory() as folder:
        runs = {row.name: training(plan, row, 0, None, Path(folder) / row.name) for row in rows}
        for _ in range(WARM_UP + ROUNDS):
            for name, steps in runs.items():
                check(stop)
                started = time.process_time()
                next(steps)
                taken[name].append(time.process_time() - started)
    return {name: statistics.median(each[WARM_UP:]) for name, each in taken.items()}


@contextmanager
def single_thread() -> Iterator[None]:
    """Compute on one thread, which other work on the machine disturbs least."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training(
    plan: Plan,
    row: Row,
    seed: int,
    steps: int | None,
    run: Path,
    watch: Callable[[TrainingData], Watch] = lambda data: lambda done, learner: {},
    stop: Stop = lambda: False,
) -> Iterator[Progress]:
    """Open the data of a row, and start or resume its training in the folder `run`.

    Returns:
        An iterator that takes a step at each call.
    """
    data = opened(plan, row, seed, steps, run)
    options = TrainOptions(stop=stop, watch=watch(data))
    return train_steps(data.recipe, data.training, run, CPU, options)


def opened(plan: Plan, row: Row, seed: int, steps: int | None, run: Path) -> TrainingData:
    """Return the images of a run, and its recipe as `adm train` makes it of the same settings."""
    settings = [*plan.settings(row), f"train.seed={seed}"]
    settings += [] if steps is None else [f"train.steps={steps}"]
    choice = choose(plan.recipe, settings)
    return open_data(choice, known_facts(choice, run, CPU), DataOptions(data=plan.contest.data))


def work(plan: Plan, job: Job, times: Times, place: Path, stop: Stop) -> None:
    """Train a job, and score it on the way.

    Raises:
        Stopped: `stop` returned True; the run has saved a checkpoint.
    """
    row, run = job.row, job.folder(place)
    steps = times.rows[row.name].steps

    def watch(data: TrainingData) -> Watch:
        watched = Watched(data.recipe, data.training, data.validation, run, CPU)

        def score(done: int, learner: Learner) -> dict[str, float]:
            if not stop() and done in _left(plan, place, times, row, job.seed):
                model = watched.model(Weights.of(learner).mean, done)
                record = read_run(plan, place, row, job.seed) or begun(plan, row, data, times)
                point = measured(plan, job.seed, data, model, stop)
                points = sorted([*record.points, point], key=lambda each: each.steps)
                store_run(replace(record, points=tuple(points)), place, row, job.seed)
            return {}

        return score

    with single_thread():
        for _ in training(plan, row, job.seed, steps, run, watch, stop):
            pass
        check(stop)
        if left := _left(plan, place, times, row, job.seed):
            raise RuntimeError(f"{run} is beyond step {left[0]}, which was not scored; remove it")


def begun(plan: Plan, row: Row, data: TrainingData, times: Times) -> RunScores:
    """Return the record of a run without scores."""
    assert isinstance(data.recipe, DiffusionRecipe)
    return RunScores(
        settings=plan.settings(row),
        parameters=parameters_of(data.recipe.config),
        step_seconds=times.rows[row.name].step_seconds,
        count=plan.count,
        sampling=to_json(data.recipe.sample.change(**plan.sampling)),
        points=(),
        processor=describe_processor(),
        versions=versions(),
    )


def measured(plan: Plan, seed: int, data: TrainingData, model: DiffusionModel, stop: Stop) -> Point:
    """Sample and score a row on its way.

    Raises:
        Stopped: `stop` returned True.
    """
    pipeline, contest = Pipeline(model), plan.contest
    sizes = torch.bincount(data.training.labels, minlength=len(pipeline.classes)).tolist()
    labels = in_proportion(sizes, plan.count)
    how = {**plan.sampling, "seed": seed}
    images = pipeline.sample(labels, on_step=lambda calls: check(stop), **how).images
    samples = model.path.with_suffix(".npz")  # the weights have no file of which samples could tell
    np.savez(samples, arr_0=images.permute(0, 2, 3, 1).numpy())
    scores = {}
    for name in contest.features:
        features, real = reference(contest, data.recipe.data, name, stop)
        with displayed(stopping(stop)):
            report = evaluate(samples, real, features)
        scores[name] = {
            key: StoredScore(*score.to_json().values()) for key, score in report.scores.items()
        }
    assert data.validation is not None
    return Point(model.trained_steps, velocity_error(model, data.validation), scores)


def stopping(stop: Stop) -> Display:
    """Return a display of progress that raises `Stopped` if `stop` returns True."""
    return lambda *work: nullcontext(lambda amount, note="": check(stop))


def reference(
    contest: Contest, sized: DataSettings, name: str, stop: Stop
) -> tuple[Features, Reference]:
    """Return features, and their reference, from the user's cache or computed."""
    features = open_features(name, CPU.device)
    size, channels = sized.size, sized.channels
    real = open_source(contest.data, split=contest.split, size=size, channels=channels)
    with displayed(stopping(stop)):
        return features, cached_reference(real, features, user_cache("references"))


@torch.no_grad()
def velocity_error(model: DiffusionModel, held_out: Source) -> float:
    """Return the mean squared error of the velocity on held-out images at fixed noise.

    It compares networks of any target, loss and schedule: the log-SNRs are those of `LEVELS` of the
    cosine schedule, and every estimate of x_0 implies a velocity, signal noise - sigma x_0, whose
    error is that of x_0 divided by sigma.
    """
    schedule = model.schedule.at_log_snr(cosine(1000).log_snr[[*LEVELS]].flip(0))
    count, errors = min(HELD_OUT, len(held_out)), list[float]()
    for start in range(0, count, BATCH):
        places = range(start, min(start + BATCH, count))
        batch = with_draws(held_out, [*places], 0, start)
        level = torch.tensor([1 + place % len(LEVELS) for place in places])
        example = losses.Example.of(schedule, to_float(batch.images), batch.draws.noise, level)
        labels = batch.labels if model.classes else None
        prediction = model.denoise(labels, schedule, threshold=None)(example.x_t, level)

        def velocity(x_0: Tensor, noise: Tensor, of: losses.Example = example) -> Tensor:
            return VELOCITY.of(schedule, x_0, noise, of.x_t, of.level)

        apart = velocity(prediction.x_0, prediction.noise) - velocity(example.x_0, example.noise)
        errors += per_image(apart.double() ** 2).tolist()
    return statistics.mean(errors)
