"""Steps of the rows, scores on the way of a run -> JSON files, and back.

The files are small and hold everything on the page, so that they are published in
docs/results/ablation/ and that another machine can go on where one has stopped: copy them to
out/ablation/NAME/scores.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ablation_plan import Plan, Row

from adm.samplers import Sampling
from adm.scoring.report import StoredScore
from adm.store.files import write_json
from adm.store.parsed import as_type, read_json

SCORES, STEPS = "scores", "steps.json"  # folder of the files, in that of the plan; one of them
SHARES = (0.2, 0.5, 1.0)  # of a row's time, and of the equal steps, after which it is scored


@dataclass(frozen=True)
class Timed:
    """The training steps of a row.

    Attributes:
        settings: of the row.
        step_seconds: of one thread of a processor, for a step.
        steps: that fit into the row's time.
    """

    settings: tuple[str, ...]
    step_seconds: float
    steps: int


@dataclass(frozen=True)
class Times:
    """The training steps of all rows, by name.

    Attributes:
        seconds: of a processor, that every row has.
        processor, versions: of the machine that timed the first rows.
        equal: steps at which rows are compared at equal steps, those of the slowest; None where
            they were not scored on the way.
    """

    seconds: float
    processor: str
    versions: dict[str, str]
    rows: dict[str, Timed] = field(default_factory=dict)
    equal: int | None = None

    def with_rows(self, timed: dict[str, Timed]) -> "Times":
        rows = self.rows | timed
        return replace(
            self, rows=rows, equal=self.equal or min(each.steps for each in rows.values())
        )

    def marks(self, name: str) -> tuple[int, ...]:
        """Return the steps at which a row is scored: `SHARES` of its own, and of `equal`."""
        ends = [self.rows[name].steps, *([self.equal] if self.equal else [])]
        marks = {max(1, round(share * end)) for share in SHARES for end in ends}
        return tuple(sorted(mark for mark in marks if mark <= ends[0]))


@dataclass(frozen=True)
class Point:
    """The scores of a run on its way.

    Attributes:
        steps: of training.
        velocity_error: mean squared error of the velocity on held-out images.
        scores: features -> key -> score.
    """

    steps: int
    velocity_error: float
    scores: dict[str, dict[str, StoredScore]]


@dataclass(frozen=True)
class RunScores:
    """The record of a run.

    Attributes:
        settings: of the row.
        parameters: of the network.
        step_seconds: of one thread of a processor, for a training step.
        count: images that were sampled.
        sampling: its settings.
        points: its scores, by their steps.
        processor, versions: of the machine that trained.
    """

    settings: tuple[str, ...]
    parameters: int
    step_seconds: float
    count: int
    sampling: dict[str, Any]
    points: tuple[Point, ...]
    processor: str
    versions: dict[str, str]

    def at(self, steps: int | None) -> Point | None:
        """Return the scores after some steps; None if there are none."""
        return next((each for each in self.points if each.steps == steps), None)


def read_times(plan: Plan, place: Path) -> Times | None:
    """Return the steps that an earlier call has measured, if there was one.

    Raises:
        ValueError: they are for another time.
    """
    path = place / SCORES / STEPS
    if not path.exists():
        return None
    times = as_type(Times, read_json(path))
    if times.seconds != plan.seconds:
        raise ValueError(
            f"the rows of {path} have {times.seconds:g} seconds each, not {plan.seconds:g}; choose "
            "another --out, or give the same"
        )
    return times


def store_times(times: Times, place: Path) -> None:
    (place / SCORES).mkdir(parents=True, exist_ok=True)
    write_json(place / SCORES / STEPS, asdict(times))


def run_file(place: Path, row: Row, seed: int) -> Path:
    return place / SCORES / f"{row.name}-{seed}.json"


def store_run(record: RunScores, place: Path, row: Row, seed: int) -> None:
    write_json(run_file(place, row, seed), asdict(record))


def read_run(plan: Plan, place: Path, row: Row, seed: int) -> RunScores | None:
    """Return the record of a run; None if there is none, or of other settings or sampling."""
    path = run_file(place, row, seed)
    if not path.exists():
        return None
    record = as_type(RunScores, read_json(path))
    sampling = as_type(Sampling, record.sampling)
    same = (
        set(record.settings) == set(plan.settings(row))
        and record.count == plan.count
        and sampling.change(**plan.sampling) == sampling
    )
    return record if same else None


def read_runs(plan: Plan, place: Path) -> dict[str, dict[int, RunScores]]:
    """Return the runs of every row that has any: name -> seed -> run."""
    last = max((seed_of(path) for path in (place / SCORES).glob("*-*.json")), default=-1)
    records = {
        row.name: {seed: read_run(plan, place, plan.trained(row), seed) for seed in range(last + 1)}
        for row in plan.rows
    }
    known = {
        name: {seed: run for seed, run in runs.items() if run is not None}
        for name, runs in records.items()
    }
    return {name: runs for name, runs in known.items() if runs}


def seed_of(path: Path) -> int:
    """Return the seed of a run's file."""
    return int(path.stem.rpartition("-")[2])
