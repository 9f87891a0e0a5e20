"""Damaged inputs of every kind on the command line -> a line with a cure, or no harm.

`make abuse` does the same to more of them, each in its own process with limits.
"""

import sys
from pathlib import Path
from random import Random

import pytest
from abuse import fuzz, material
from abuse.child import Limits, Outcome
from abuse.judge import files_of
from abuse.material import Material
from answers import Adm
from mutations import ends_within

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of decoders, which the command line quiets
    pytest.mark.xdist_group("kinds"),  # one worker makes the undamaged files
]
TRIES = 4
NOWHERE = "nowhere"  # no device, so that valid commands end early


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return material.make(tmp_path_factory.mktemp("abuse") / "material")


@pytest.mark.parametrize("number", range(TRIES))
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damage_is_refused_in_a_line_or_harmless(
    undamaged: Material,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adm: Adm,
    kind: str,
    number: int,
) -> None:
    folder = tmp_path / "here" / "here"
    for name in ("cache", "home"):
        (folder / name).mkdir(parents=True)
        monkeypatch.setenv({"cache": "XDG_CACHE_HOME", "home": "HOME"}[name], str(folder / name))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    case = fuzz.KINDS[kind](Random(f"{kind} {number}"), folder, undamaged)
    words = case.words
    if kind == "command lines":
        words = tuple(NOWHERE if word == "cpu" else word for word in words)
    before = files_of(folder)
    with ends_within(60):
        answer = adm("-q", *words)
    outcome = Outcome(answer.status, answer.out, answer.err, 0.0, hung=False, memory=0)
    assert not fuzz.faults_in(folder, case, before, outcome, undamaged, Limits()), words
