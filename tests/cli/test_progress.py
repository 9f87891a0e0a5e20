"""amounts of work at times of a fake clock -> the work done, its unit, and the time left."""

import pytest

from adm.app import notices
from adm.app import progress as module
from adm.app.progress import Pace, progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(module.time, "monotonic", fake)
    monkeypatch.setattr(notices, "_quiet", False)
    return fake


def test_the_time_left_is_that_of_the_rest_at_the_speed_of_this_process() -> None:
    clock = Clock()
    pace = Pace(100, done=40, clock=clock)
    clock.now += 5
    pace.add(10)  # what was there, which sets no speed
    assert (pace.done, pace.left) == (50, None)
    clock.now += 4
    pace.add(2)
    assert pace.left == pytest.approx(48 * 2)


def test_a_line_has_unit_and_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading", 4000, "images") as advance:
        advance(1000)
        clock.now += 20
        advance(1000, "loss 1")
        clock.now += 1
        advance(1000)  # too soon for a line
        clock.now += 19
        advance(1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "reading: 2,000 of 4,000 images, 0:00:40 left  loss 1",
        "reading: 4,000 of 4,000 images, 0:00:00 left",
    ]


def test_a_bar_has_unit_and_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("training", 400, "steps", done=200) as advance:
        advance(1)
        clock.now += 5
        advance(1, "loss 1")
    output = capsys.readouterr().err
    assert "202 of 400 steps" in output
    assert "0:16:30 left" in output


def test_quiet_work_is_not_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with notices.quieted(), progress("reading", 1, "images") as advance:
        advance(1)
    assert capsys.readouterr().err == ""
