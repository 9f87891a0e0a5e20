"""figures of a run -> the records of TensorBoard and Weights & Biases, each step once."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from adm.runs.watch import writers
from adm.runs.watch.writers import Writer, record
from adm.training.loop import Progress

RED = Image.new("RGB", (4, 4), "red")
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def steps_of(first: int, last: int, scale: float = 1.0) -> Iterator[Progress]:
    for step in range(first, last + 1):
        yield Progress(step, {"loss": scale / step}, 10.0)


def test_figures_pass_by_and_the_writers_are_closed_however_it_ends() -> None:
    calls: list[Any] = []
    writer = Writer(
        lambda step, values: calls.append((step, values["loss"])),
        lambda step, name, picture: None,
        lambda: calls.append("closed"),
    )
    passed = [p.step for p in record(steps_of(1, 2), [writer])]
    assert passed == [1, 2]
    assert calls == [(1, 1.0), (2, 0.5), "closed"]
    calls.clear()

    def failing() -> Iterator[Progress]:
        yield from steps_of(1, 1)
        raise FloatingPointError("not finite")

    with pytest.raises(FloatingPointError):
        list(record(failing(), [writer]))
    assert calls == [(1, 1.0), "closed"]


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="TensorBoard is not installed")
def test_a_continued_run_shows_each_step_once_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run" / "tensorboard"
    writer = writers.tensorboard(folder)
    assert not (tmp_path / "run").exists()  # a new run's folder must be empty
    list(record(steps_of(1, 6), [writer]))
    resumed = writers.tensorboard(folder)
    resumed.picture(5, "preview", RED)
    resumed.figures(5, {"gradient_norm": float("nan")})  # what is not finite is left out
    list(record(steps_of(5, 8, scale=2.0), [resumed]))
    events = EventAccumulator(str(folder))
    events.Reload()
    scalars = [(s.step, round(s.value, 4)) for s in events.Scalars("loss")]
    expected = [(step, (1 if step < 5 else 2) / step) for step in range(1, 9)]
    assert scalars == [(step, round(value, 4)) for step, value in expected]
    assert [image.step for image in events.Images("preview")] == [5]
    assert "gradient_norm" not in events.Tags()["scalars"]
    assert [s.step for s in events.Scalars("images_per_second")] == list(range(1, 9))


class Service(SimpleNamespace):
    """The part of wandb in use: a run that continues after its last step."""

    def __init__(self) -> None:
        super().__init__(inits=[], logged=[], Image=lambda picture: "picture")

    def init(self, **options: Any) -> SimpleNamespace:
        self.inits.append(options)
        free = max((step for step, _ in self.logged), default=-1) + 1
        log = lambda values, step: self.logged.append((step, values))  # noqa: E731
        return SimpleNamespace(step=free, log=log, finish=lambda: None)


def test_a_continued_run_continues_in_wandb_without_repeating_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)  # type: ignore[arg-type]
    monkeypatch.setattr(writers, "_check_installed", lambda extra, what: None)
    run = tmp_path / "digits"
    writer = writers.wandb("adm", run, {"name": "digits"})
    assert not run.exists()
    run.mkdir()
    list(record(steps_of(1, 6), [writer]))
    resumed = writers.wandb("adm", run)
    list(record(steps_of(5, 8), [resumed]))
    resumed.picture(8, "preview", RED)
    assert [step for step, _ in service.logged] == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    first, second = service.inits
    assert first["id"] == second["id"]
    assert (first["name"], first["project"], first["resume"]) == ("digits", "adm", "allow")
