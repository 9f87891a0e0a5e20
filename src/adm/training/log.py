"""log.jsonl <-> lines: the figures of a step, a JSON object each."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO, TypeAlias

import numpy as np

from adm.processes import Devices
from adm.store.files import naming, new_file
from adm.store.parsed import parse_json

FILE = "log.jsonl"
LONGEST = 1 << 20  # bytes of a line; a longer one is damaged
LAST_STEP = 1 << 53  # a larger number is no number of steps


class LogLine(NamedTuple):
    """The figures of one step."""

    step: int
    figures: dict[str, float]  # nan where one was not finite


def lines(path: Path) -> Iterator[tuple[bytes, LogLine | None]]:
    """Yield each line as bytes, and parsed; None for a line that is damaged or incomplete.

    Raises:
        ValueError: the path is no file.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; remove it")
    with path.open("rb") as file:
        while raw := file.readline(LONGEST):
            yield raw, _line(raw)


class Column(NamedTuple):
    """The values of one figure of the log, at the steps at which it was measured."""

    steps: np.ndarray  # (N,) int64, steps done
    values: np.ndarray  # (N,) float64; nan where it was not finite


Columns: TypeAlias = dict[str, Column]


def read_columns(run: Path, now: LogLine | None = None) -> Columns:
    """Read a run's log into columns by name; the last line may be incomplete.

    Args:
        now: of a step whose line is not in the log yet.

    Raises:
        ValueError: the path is no file, or another line is not a JSON object of numbers with a
            step; names the line.
        OSError: the file cannot be read.
    """
    path = run / FILE
    known = [line for _, line in lines(path)] if path.exists() else []
    if None in known[:-1]:
        raise ValueError(
            f"{path} is damaged in line {known.index(None) + 1}; remove that line, or resume the "
            "run, which drops it"
        )
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for line in filter(None, [*known, now]):
        for name, value in line.figures.items():
            steps, values = columns.setdefault(name, ([], []))
            steps.append(line.step)
            values.append(value)
    return {name: Column(np.asarray(s), np.asarray(v, float)) for name, (s, v) in columns.items()}


@contextmanager
def reopen(run: Path, steps: int, devices: Devices) -> Iterator[TextIO]:
    """Open the log for appending, without the lines after `steps`; on rank 0 alone.

    Damaged lines are dropped, and of several lines of one step all but the first.
    """
    if not devices.main:
        with open(os.devnull, "w") as nowhere:
            yield nowhere
        return
    path, last = run / FILE, 0
    before = lines(path) if path.exists() else iter(())
    with new_file(path) as part, part.open("wb") as cleaned:
        for raw, line in before:
            if line is not None and last < line.step <= steps:
                cleaned.write(raw.rstrip(b"\n") + b"\n")  # the last may lack it
                last = line.step
    with path.open("a", buffering=1) as file:  # line by line, so that it can be followed
        yield file


def read(run: Path, steps: int, name: str) -> list[float]:
    """Return a figure of each line that has it, of the first `steps` steps."""
    path = run / FILE
    entries = (line for _, line in lines(path)) if path.exists() else iter(())
    known = (line.figures for line in entries if line is not None and line.step <= steps)
    return [figures[name] for figures in known if name in figures]


def write(file: TextIO, done: int, shown: dict[str, float]) -> None:
    """Write the line of a step."""
    # JSON has neither NaN nor infinity.
    figures = {k: v if math.isfinite(v) else None for k, v in shown.items()}
    with naming(Path(file.name)):
        file.write(json.dumps({"step": done, **figures}) + "\n")


def flush(file: TextIO) -> None:
    """Flush the log to the disk, before the checkpoint that relies on its lines is saved."""
    with naming(Path(file.name)):
        file.flush()
        if os.path.isfile(file.name):
            os.fsync(file.fileno())


def _line(raw: bytes) -> LogLine | None:
    try:
        figures = parse_json(raw)
        step = figures.pop("step")
        values = {name: _figure(value) for name, value in figures.items()}
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
        return None
    counted = type(step) is int and 0 < step <= LAST_STEP
    return LogLine(step, values) if counted else None


def _figure(value: object) -> float:
    if type(value) not in (int, float, type(None)):
        raise TypeError
    return math.nan if value is None else float(value)  # type: ignore[arg-type]
