"""A command that is killed, finds the disk full, or meets another -> the same bytes in the end."""

import random
import sys
from pathlib import Path

import pytest
from abuse.commands import (
    COMMANDS,
    Command,
    Wait,
    files_of,
    fresh,
    kill,
    material,
    no_room,
)
from abuse.damage import MANY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and forks"),
    pytest.mark.xdist_group("stopped"),  # one worker makes the undisturbed runs
]
TRIES = 30 if MANY else 1


class Undisturbed(dict[str, tuple[dict[str, str], int]]):
    """Command -> the files that it leaves, and the number of its events."""

    def __init__(self, whole: Path) -> None:
        super().__init__()
        self.whole = whole

    def __missing__(self, name: str) -> tuple[dict[str, str], int]:
        folder = fresh(self.whole, f"whole-{name}")
        ended = Command(folder, COMMANDS[name]).ended()
        assert ended.status == 0, ended.err
        self[name] = files_of(folder), ended.events
        return self[name]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(material(tmp_path_factory.mktemp("stopped") / "material" / "here"))


@pytest.mark.parametrize("number", range(TRIES))
@pytest.mark.parametrize("act", [kill, no_room])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_command_ends_with_the_same_bytes(
    undisturbed: Undisturbed, name: str, act: object, number: int
) -> None:
    files, events = undisturbed[name]
    at = random.Random(f"{name} {act.__name__} {number}").randrange(events)
    folder = fresh(undisturbed.whole, f"{name}-{act.__name__}-{number}")
    stopped = Command(folder, COMMANDS[name], at, act).ended()
    if act is kill:
        assert stopped.status == -9, at
    else:
        assert stopped.status in (0, 2), stopped.err  # what may be left out, such as a picture
        assert "Traceback" not in stopped.err
        assert stopped.status == 0 or stopped.err.count("\n") == 1, stopped.err
    again = Command(folder, COMMANDS[name]).ended()
    assert again.status == 0, again.err
    assert files_of(folder) == files, at


@pytest.mark.parametrize("name", COMMANDS)
def test_two_at_once_do_not_mix(undisturbed: Undisturbed, name: str) -> None:
    files, events = undisturbed[name]
    folder, wait = fresh(undisturbed.whole, f"{name}-twice"), Wait()
    first = Command(folder, COMMANDS[name], events // 2, wait)
    wait.arrived.wait()
    second = Command(folder, COMMANDS[name]).ended()
    wait.may_go_on.set()
    ended = first.ended()
    assert ended.status == 0, ended.err
    assert second.status in (0, 2), second.err
    assert second.status == 0 or "another process" in second.err
    assert files_of(folder) == files
