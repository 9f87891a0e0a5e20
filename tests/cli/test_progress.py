"""amounts of work at times of a fake clock -> the work done, its unit, and the time left."""

import pytest
from rich import console

from adm.app import notices
from adm.app.progress import progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(console, "monotonic", fake)
    monkeypatch.setattr(notices, "_quiet", False)
    return fake


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


def test_work_within_other_work_has_its_own_bar_and_does_not_count_for_the_speed(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 4, "steps") as advance:
        advance(1)
        clock.now += 20
        advance(1)
        with progress("validating", 100, "images") as validated:
            validated(50)
            clock.now += 105
            validated(25)
        clock.now += 20
        advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "training: 2 of 4 steps, 0:00:40 left",
        "validating: 75 of 100 images, 0:01:45 left",
        "training: 3 of 4 steps, 0:00:20 left",
    ]
