"""words -> every obstacle in one refusal, before torch or a model is loaded."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from cli.conftest import Adm
from PIL import Image

from adm.app.cli import early, places
from adm.app.cli.obstacles import Obstacles, errors_of, gathered
from adm.data import registry, specs
from adm.generation.folder import MANIFEST
from adm.recipe_names import NAMES
from adm.recipes import RECIPES

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # so that importing it fails
from adm.app.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def here(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a file, a folder that holds something, and the models."""
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    (tmp_path / "models").symlink_to(models)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SAMPLE = ("sample", "models/model.safetensors")
REFUSALS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (
        (*SAMPLE, "--classes", "snaeker", "--steps", "21", "--out", "full", "--classifier", "none"),
        (
            "no model 'none'; give a path of a classifier, or one of emoji-classifier, "
            "emoji-judge, fashion-classifier, fashion-judge, fashion-unlabelled-classifier",
            "full already exists and is not empty; choose another folder",
            "unknown class 'snaeker'; did you mean sneaker?",
            "steps must be in 2..20, got 21",
        ),
    ),
    (
        (
            *("sample", "models/modl.safetensors", "--upsampler", "models/guide.safetensors"),
            *("--out", "file/deep/out"),
        ),
        (
            "models/modl.safetensors does not exist; did you mean models/model.safetensors? give",
            "guide.safetensors is a classifier; give a diffusion model",
            "file is a file, and file/deep/out would be in it; choose another --out",
        ),
    ),
    (
        (
            *(*SAMPLE, "--upsampler", "models/model.safetensors", "--upsampler-steps", "30"),
            *("--start", "40", "--out", "file"),
        ),
        (
            "file already exists and is not empty; choose another folder",
            "start must be a level in 2..20, got 40",
            "the upsampler's steps must be in 2..20, got 30",
            "is not an upsampler; pass an --upsampler that starts from images of 8x8",
        ),
    ),
    (
        ("upsample", "models/model.safetensors", "small", "--out", "full"),
        (
            "no data 'small'; give",
            "full already exists and is not empty",
            "model.safetensors is not an upsampler; give an upsampler, or use `adm sample`",
        ),
    ),
    (
        (
            *("sweep", "models/model.safetensors", "--reference", "none.npz", "--judge", "fashion"),
            *("--classes", "snaeker", "--steps", "4,30,40", "--out", "file"),
        ),
        (
            "fashion.safetensors is a diffusion model; give a classifier",
            "no data 'none.npz'",
            "file is a file, and a sweep needs a folder; choose another --out",
            "unknown class 'snaeker'",
            "steps must be in 2..20, got 30",
            "steps must be in 2..20, got 40",
        ),
    ),
    (
        ("demo", "--out", "full", "--steps", "2000"),
        ("full already exists and is not empty; choose", "steps must be in 2..980, got 2000"),
    ),
    (
        ("train", "digts", "--data", "nowhere", "--pretrained", "models/modl", "--out", "file"),
        (
            "no recipe 'digts'; did you mean digits",
            "file is a file, and a run needs a folder; choose another --out",
            "no data 'nowhere'",
            "models/modl does not exist; did you mean models/model.safetensors",
        ),
    ),
    (
        ("evaluate", "none", "--reference", "none.npz", "--out", "full"),
        ("no data 'none'", "no data 'none.npz'", "full is a folder; give --out a file, such as"),
    ),
    (
        ("nearest", "none", "digts", "--out", "file/n.png", "--report", "full"),
        (
            "no data 'none'",
            "no data 'digts'; did you mean digits?",
            "file is a file, and file/n.png would be in it; choose another --out",
            "full is a folder; give --report a file, such as full/n.json",
        ),
    ),
    (
        ("reference", "a.tar", "--out", "full"),
        ("no data 'a.tar': no such .tar archive", "full is a folder; give --out a file"),
    ),
    (
        ("average", "none", "--width", "0.1", "--out", "file/a.safetensors"),
        ("none does not exist; give the folder of a run", "file is a file, and"),
    ),
    (
        ("data", "inspect", "none", "--out", "full", "--sheet", "file/s.png"),
        ("no data 'none'", "full is a folder", "choose another --sheet"),
    ),
    (
        ("data", "pack", "none", "--out", "file"),
        ("no data 'none'", "file is a file, and shards need a folder; choose another --out"),
    ),
]


@pytest.mark.parametrize(("words", "lines"), REFUSALS, ids=lambda each: each[0])
def test_all_obstacles_are_named_without_torch(
    here: Path, words: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    before = sorted(here.rglob("*"))
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = found.stderr.splitlines()
    assert (found.returncode, found.stdout) == (2, ""), found.stderr
    assert len(said) == len(lines), found.stderr
    for line, wanted in zip(said, lines, strict=True):
        assert line.startswith("adm: ")
        assert wanted in line
    assert sorted(here.rglob("*")) == before


def test_a_sampler_is_checked_with_the_other_obstacles(here: Path, adm: Adm) -> None:
    answer = adm(*SAMPLE, "--sampler", "dim", "--steps", "21", "--out", "full")
    assert answer.status == 2
    assert [line.split("; ")[0] for line in answer.err.splitlines()] == [
        "adm: full already exists and is not empty",
        "adm: steps must be in 2..20, got 21",
        "adm: sampler 'dim' is unknown",
    ]


ONE = [
    ("--classes", "snaeker:2"),
    ("--classes", "all", "--count", "3"),
    ("--count", "0"),
    ("--steps", "1"),
    ("--start", "99"),
    ("--sampler", "dim"),
    ("--sampler", "ancestral:eta=1"),
    ("--eta", "2"),
    ("--spacing", "strided", "--steps", "9"),
    ("--without-label", "--classes", "bag"),
    ("--upsampler-steps", "3"),
    ("--upsampler", "nowhere/up.safetensors"),
    ("--upsampler", "models/model.safetensors"),
    ("--upsampler", "models/guide.safetensors"),
    ("--classifier", "nowhere"),
    ("--classifier", "models/model.safetensors", "--scale", "1"),
    ("--classifier", "models/damaged.safetensors", "--scale", "1"),
    ("--scale", "1", "--guide-interval", "7,3"),
    ("--scale", "1", "--guide-interval", "3,21"),
    ("--scale", "1", "--guide-interval", "3"),
    ("--scale", "1", "--guide-every", "0"),
    ("--scale", "1", "--guide-cap", "0"),
    ("--scale", "1", "--guide-on", "x"),
    ("--scale", "0", "--guide-every", "2"),
    ("--out", "full"),
    ("--out", "file"),
]


@pytest.mark.parametrize("words", ONE, ids=" ".join)
def test_early_and_late_checks_say_the_same(
    here: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    (here / "models" / "damaged.safetensors").write_bytes(b"not a header")
    before = adm(*SAMPLE, "--out", "out", *words).refusal()
    monkeypatch.setattr(early, "sample", lambda *_, **__: None)
    assert adm(*SAMPLE, "--out", "out", *words).refusal() == before


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("train", ("train", "digts", "--out", "run")),
        ("train", ("train", "digits", "--out", "file")),
        ("train", ("train", "digits", "--data", "nowhere", "--out", "run")),
        ("pack", ("data", "pack", "pixels", "--labels", "none", "--out", "file")),
        ("pack", ("data", "pack", "nowhere", "--out", "out")),
        ("paths", ("evaluate", "nowhere", "--reference", "pixels", "--out", "r.json")),
        ("paths", ("reference", "nowhere.tar", "--features", "fashion-judge", "--out", "r.npz")),
        ("demo", ("demo", "--out", "out", "--steps", "1000")),
    ],
)
def test_the_early_checks_of_other_verbs_say_the_same(
    here: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch, verb: str, words: tuple[str, ...]
) -> None:
    (here / "pixels").mkdir()
    Image.new("L", (8, 8)).save(here / "pixels" / "a.png")
    before = adm(*words).refusal()
    monkeypatch.setattr(early, verb, lambda *_, **__: None)
    assert adm(*words).refusal() == before


def test_a_sample_folder_is_left_to_the_later_check(here: Path) -> None:
    (here / "full" / MANIFEST).write_text("{}")
    places.folder(here / "full", early.MANIFEST)
    places.folder(here / "new", early.MANIFEST)
    (here / "empty").mkdir()
    places.folder(here / "empty", early.MANIFEST)
    assert early.MANIFEST == MANIFEST


def test_nothing_is_refused_early_for_a_released_file(here: Path, adm: Adm) -> None:
    """What it holds is known only once it is loaded."""
    (here / "model.pt").write_text("")
    refused = adm("sample", "model.pt", "--classes", "snaeker", "--steps", "1", "--out", "out")
    assert "model.pt is damaged or not a .pt file" in refused.refusal()


def test_the_names_that_need_no_torch_are_those_of_the_tables() -> None:
    assert tuple(RECIPES) == NAMES
    assert tuple(registry.NAMED) == specs.NAMES


def test_a_check_returns_its_result_and_a_single_error_is_raised_itself() -> None:
    with gathered() as check:
        assert check(int, "3") == 3
    with pytest.raises(FileNotFoundError), gathered() as check:
        assert check(Path("/none").read_text) is None
    with pytest.raises(KeyError), gathered() as check:  # not an error of the user
        check(dict[str, int]().__getitem__, "a")


def test_several_errors_are_raised_together_and_repeated_ones_once() -> None:
    def nested() -> None:
        with gathered() as check:
            check(failing("b"))
            check(failing("c"))

    def all_of_them() -> None:
        with gathered() as check:
            check(failing("a\n a"))
            check(nested)
            check(failing("b"))

    with pytest.raises(Obstacles) as raised:
        all_of_them()
    assert [str(error) for error in errors_of(raised.value)] == ["a\n a", "b", "c"]
    assert str(raised.value) == "a a\nb\nc"
    assert errors_of(ValueError("a"))[0].args == ("a",)


def failing(message: str) -> Callable[[], None]:
    def fail() -> None:
        raise ValueError(message)

    return fail


@pytest.mark.parametrize("upsampler", ["up.safetensors", "model.safetensors"])
def test_an_upsampler_is_compared_with_the_model(
    here: Path, adm: Adm, tmp_path: Path, upsampler: str
) -> None:
    tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    tiny.model(tmp_path / "up.safetensors", tiny.upsampler())
    words = ("sample", "model.safetensors", "--upsampler", upsampler, "--out", "out")
    line = adm(*words).refusal()
    assert upsampler in line
    assert "images of 8x8 with 1 channel" in line
