"""Command lines of verbs, options and nasty values; each is done, or ends in lines with a cure."""

from pathlib import Path
from random import Random

import pytest
from abuse import material
from abuse.judge import LONGEST, RIDDLES
from abuse.words import INPUTS, line, strange
from cli.conftest import Adm, adm  # noqa: F401, a fixture

from adm.shown import printable

TRIES = 40
NOWHERE = "nowhere"  # a device, so that what is well meant does not take long


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    material.models(folder)
    material.files(folder)
    material.write_pictures(folder)
    return folder


@pytest.mark.parametrize("number", range(TRIES))
def test_a_command_line_is_done_or_refused_in_lines(
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adm: Adm,  # noqa: F811
    number: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in INPUTS:
        material.Material(inputs).put(name, tmp_path)
    strange(tmp_path)
    words = [NOWHERE if word == "cpu" else word for word in line(Random(number))]
    answer = adm(*words)
    assert answer.status in (0, 2), words
    assert answer.status == 0 or answer.err.startswith("adm: ")
    for each in answer.err.splitlines():
        assert len(each) <= LONGEST, words
        assert not RIDDLES.search(each), (words, each)
    for each in (*answer.err.splitlines(), *answer.out.splitlines()):
        assert printable(each) == each, words
    assert (tmp_path / "full" / "thesis.txt").exists()
