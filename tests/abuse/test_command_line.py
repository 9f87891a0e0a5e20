"""seed -> command lines of verbs, options and nasty values; each ends in lines that name a cure.

`ADM_ABUSE=2000 pytest tests/abuse/test_command_line.py` tries more of them than a quick run does.
"""

import os
import random
import re
from pathlib import Path

import pytest
import tiny
from cli.conftest import Adm, adm  # noqa: F401, a fixture

from adm.app.cli import VERBS
from adm.shown import printable

TRIES = int(os.environ.get("ADM_ABUSE", "40"))
SEED = int(os.environ.get("ADM_ABUSE_SEED", "0"))
LONGEST = 2100  # characters of a line
# Words of the language of Python or the system, which name neither what was given nor a cure.
RIDDLES = re.compile(
    r"Errno|Path\(|Traceback|embedded null|codec can't|invalid literal|could not convert|"
    r"unable to convert|has an empty name|Symlink loop|surrogates not allowed"
)

NUMBERS = (
    "0",
    "-1",
    "2",
    "1_000",
    "\uff11\uff12",
    "²",
    "nan",
    "-inf",
    "1e400",
    "9" * 400,
    "0x10",
    "2.5",
)
TEXTS = ("", " ", ",", "x" * 300, "y" * 100_000, "\x1b[2J", "a\rb\nc", "\u202eevil", "~nobody/x")
BYTES = ("a\0b", "caf\udce9", "\ud800")
PATHS = (".", "/", "..", "loop", "loop/x", "fifo", "file", "file/x", "full", "new", "dangling")
PATHS += ("/dev/null", "x" * 255, "犬" * 90, "deep/" * 900 + "x", "new\n.png", "model.safetensors")
VALUES = (*NUMBERS, *TEXTS, *BYTES, *PATHS)
INPUTS: dict[str, tuple[str, ...]] = {
    "demo": (),
    "sample": ("model.safetensors",),
    "upsample": ("model.safetensors", "full"),
    "train": ("digits",),
    "data": ("inspect", "full"),
    "reference": ("full",),
    "cluster": ("full", "--features", "fashion-judge", "--clusters", "2"),
    "evaluate": ("full", "--reference", "full"),
    "sweep": ("model.safetensors", "--reference", "full"),
    "frontier": ("model.safetensors", "--reference", "full"),
    "nearest": ("full", "full"),
    "compare": ("full", "full"),
    "grid": ("model.safetensors",),
    "average": ("full",),
    "info": ("model.safetensors",),
    "recipes": ("digits",),
}
FLAGS = {
    "demo": "--out --per-class --scales --seed --device",
    "sample": "--out --classes --count --classifier --scale --sampler --steps --eta --seed "
    "--truncation "
    "--batch-size --spacing --start --end --levels --precision --upsampler --upsampler-steps "
    "--budget --frontier --device",
    "upsample": "--out --classifier --scale --steps --seed --batch-size",
    "train": "--out --data --labels --validation --hold-out --set --steps --micro-batch "
    "--pretrained --rename --device",
    "data": "--out --sheet --split --labels --cache",
    "reference": "--out --features --split --size --channels --labels --count --work",
    "cluster": "--out --page --features --clusters --split --size --channels --labels --seed "
    "--starts --work --batch-size",
    "evaluate": "--out --features --resize --size --channels --count --work --batch-size --seed",
    "sweep": "--out --vary --classifier --weak --classes --judge --count --seed --features",
    "frontier": "--out --vary --count --trial-count --keep --features --classes --seed "
    "--batch-size --device",
    "nearest": "--out --report --features --count --neighbours --quantile --size --work",
    "compare": "--out --class --count --features --picture --split --size --channels --work "
    "--batch-size --device",
    "grid": "--steps --scale --classifier --start --count --coefficient --seed --device --plot",
    "average": "--out --width --step --plot",
    "info": "--recipe",
    "recipes": "--memory",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("file/x")
    os.mkfifo(tmp_path / "fifo")
    tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    return tmp_path


def command(chance: random.Random) -> list[str]:
    """A command line with at least one value that cannot be meant."""
    verb = chance.choice([*VERBS])
    words = [*INPUTS[verb]]
    flags = chance.sample(FLAGS[verb].split(), k=1)
    for flag in flags:
        value = chance.choice(VALUES)
        words += [f"{flag}={value}"] if chance.random() < 0.3 else [flag, value]
    if words and chance.random() < 0.3:
        words[chance.randrange(len(INPUTS[verb]) or 1)] = chance.choice(VALUES)
    if chance.random() < 0.1:
        words.append(chance.choice(VALUES))
    nothing = (
        ["--device", "nowhere"] if "--device" in FLAGS[verb] and "--device" not in words else []
    )
    return [verb, *words, *nothing]


@pytest.mark.parametrize("number", range(TRIES))
def test_a_command_line_is_done_or_refused_in_lines(here: Path, adm: Adm, number: int) -> None:  # noqa: F811
    words = command(random.Random(SEED * 1_000_003 + number))
    answer = adm(*words)
    assert answer.status in (0, 2), words
    if answer.status == 2:
        assert answer.err.startswith("adm: ")
    for line in answer.err.splitlines():
        assert len(line) <= LONGEST, words
        assert printable(line) == line, words
        assert not RIDDLES.search(line), (words, line)
    for line in answer.out.splitlines():
        assert printable(line) == line, words
    assert (here / "full" / "thesis.txt").exists()
