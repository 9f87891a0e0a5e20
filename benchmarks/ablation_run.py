"""Plan -> training steps of every row; Job -> its trained network, and its scores in a file."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from ablation_plan import Plan, Row
from ablation_scores import RunScores, Timed, Times, read_run, read_times, store_run, store_times
from ablation_tasks import Stop, check
from results_plan import Contest
from torch import Tensor

import adm
from adm import losses
from adm.data import Source, open_source
from adm.diffusion import VELOCITY, cosine
from adm.diffusion.likelihood import per_image
from adm.features import Features, open_features
from adm.generation.labels import in_proportion
from adm.images import to_float
from adm.models.trained import DiffusionModel
from adm.networks import parameters_of
from adm.processes import Devices
from adm.progress import Display, displayed
from adm.recipes.schema import DataSettings
from adm.runs.data import DataOptions, TrainingData, choose, known_facts, open_data
from adm.runs.processor import describe_processor
from adm.runs.run import TrainOptions, train_steps
from adm.scoring import Reference, cached_reference, evaluate
from adm.scoring.manifest import versions
from adm.scoring.report import StoredScore
from adm.spec import to_json
from adm.store.files import user_cache
from adm.training.batches import with_draws
from adm.training.loop import Progress
from adm.training.settings import EARLY

WARM_UP, ROUNDS = 2, 7  # steps of a row that are not timed, and that are; none saves a checkpoint
HELD_OUT, BATCH = 2000, 100  # images of the velocity error, and how many are evaluated at a time
LEVELS = range(25, 1000, 50)  # of the cosine schedule, at whose noise it is measured
CPU = Devices(torch.device("cpu"))

assert WARM_UP + ROUNDS < EARLY


@dataclass(frozen=True)
class Job:
    """A network to train from a seed, and the rows that are scored on it, the first its own."""

    rows: tuple[Row, ...]
    seed: int

    def folder(self, place: Path) -> Path:
        return place / "runs" / f"{self.rows[0].name}-{self.seed}"


def jobs(plan: Plan, place: Path) -> list[Job]:
    """Return what is left to do: all rows of a seed before the next seed."""
    left = list[Job]()
    for seed in range(plan.seeds):
        for network in plan.networks():
            own = (row for row in plan.weights() if plan.trained(row) == network)
            rows = tuple(row for row in own if not row.left)
            if any(read_run(plan, place, row, seed) is None for row in rows):
                left.append(Job(rows, seed))
    return left


def prepare(plan: Plan, place: Path, stop: Stop) -> None:
    """Measure the steps of every row, and make the references of the scores, once for all runs."""
    clock(plan, place, stop)
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
        if not row.left
        and (row.name not in known or set(known[row.name].settings) != set(plan.settings(row)))
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
            for name, (_, steps) in runs.items():
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
    stop: Stop = lambda: False,
) -> tuple[TrainingData, Iterator[Progress]]:
    """Open the data of a row, and start or resume its training in the folder `run`.

    Returns:
        The data, and an iterator that takes a step at each call.
    """
    data = opened(plan, row, seed, steps, run)
    return data, train_steps(data.recipe, data.training, run, CPU, TrainOptions(stop=stop))


def opened(plan: Plan, row: Row, seed: int, steps: int | None, run: Path) -> TrainingData:
    """Return the images of a run, and its recipe as `adm train` makes it of the same settings."""
    settings = [*plan.settings(row), f"train.seed={seed}"]
    settings += [] if steps is None else [f"train.steps={steps}"]
    choice = choose(plan.recipe, settings)
    return open_data(choice, known_facts(choice, run, CPU), DataOptions(data=plan.contest.data))


def work(plan: Plan, job: Job, times: Times, place: Path, stop: Stop) -> None:
    """Train and score a job.

    Raises:
        Stopped: `stop` returned True; the run has saved a checkpoint.
    """
    timed, run = times.rows[job.rows[0].name], job.folder(place)
    with single_thread():
        data, steps = training(plan, job.rows[0], job.seed, timed.steps, run, stop)
        for _ in steps:
            pass
        check(stop)
        for row in job.rows:
            if read_run(plan, place, row, job.seed) is None:
                record = measured(plan, row, job.seed, data, timed, run, stop)
                store_run(record, place, row, job.seed)


def measured(
    plan: Plan,
    row: Row,
    seed: int,
    data: TrainingData,
    timed: Timed,
    run: Path,
    stop: Stop,
) -> RunScores:
    """Sample and score a trained row.

    Raises:
        Stopped: `stop` returned True.
    """
    pipeline = adm.load(run, device="cpu")
    how = {**plan.sampling, "seed": seed}
    contest, trained = plan.contest, data.recipe
    sizes = torch.bincount(data.training.labels, minlength=len(pipeline.classes)).tolist()
    labels = in_proportion(sizes, plan.count)
    samples = pipeline.sample(labels, on_step=lambda calls: check(stop), **how)
    scores = {}
    for name in contest.features:
        features, real = reference(contest, trained.data, name, stop)
        with displayed(stopping(stop)):
            report = evaluate(samples, real, features)
        scores[name] = {
            key: StoredScore(*score.to_json().values()) for key, score in report.scores.items()
        }
    assert data.validation is not None
    return RunScores(
        settings=plan.settings(row),
        steps=timed.steps,
        images=timed.steps * trained.train.batch_size,
        parameters=parameters_of(trained.config),
        step_seconds=timed.step_seconds,
        velocity_error=velocity_error(pipeline.model, data.validation),
        count=plan.count,
        sampling=to_json(pipeline.sampling.change(**how)),
        scores=scores,
        processor=describe_processor(),
        versions=versions(),
    )


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
