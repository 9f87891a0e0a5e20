"""figures of a run -> the records of TensorBoard, each step once."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from adm.runs.watch.writers import TensorBoard
from adm.training.loop import Progress

RED = Image.new("RGB", (4, 4), "red")
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def steps_of(first: int, last: int, scale: float = 1.0) -> Iterator[Progress]:
    for step in range(first, last + 1):
        yield Progress(step, {"loss": scale / step}, 10.0)


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="TensorBoard is not installed")
def test_figures_pass_by_and_the_writer_is_closed_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    writer = TensorBoard(tmp_path / "events")
    monkeypatch.setattr(writer, "close", lambda: closed.append(True))
    assert [p.step for p in writer.record(steps_of(1, 2))] == [1, 2]
    assert closed == [True]

    def failing() -> Iterator[Progress]:
        yield from steps_of(1, 1)
        raise FloatingPointError("not finite")

    with pytest.raises(FloatingPointError):
        list(writer.record(failing()))
    assert closed == [True, True]


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="TensorBoard is not installed")
def test_a_continued_run_shows_each_step_once_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run" / "tensorboard"
    writer = TensorBoard(folder)
    assert not (tmp_path / "run").exists()  # a new run's folder must be empty
    list(writer.record(steps_of(1, 6)))
    resumed = TensorBoard(folder)
    resumed.picture(5, "preview", RED)
    resumed.figures(5, {"gradient_norm": float("nan")})  # what is not finite is left out
    resumed.words(5, "scores", "it still falls")
    list(resumed.record(steps_of(5, 8, scale=2.0)))
    events = EventAccumulator(str(folder))
    events.Reload()
    scalars = [(s.step, round(s.value, 4)) for s in events.Scalars("loss")]
    expected = [(step, (1 if step < 5 else 2) / step) for step in range(1, 9)]
    assert scalars == [(step, round(value, 4)) for step, value in expected]
    assert "scores/text_summary" in events.Tags()["tensors"]
    assert [image.step for image in events.Images("preview")] == [5]
    assert "gradient_norm" not in events.Tags()["scalars"]
    assert [s.step for s in events.Scalars("images_per_second")] == list(range(1, 9))
