"""adm frontier, adm sample --budget -> images of the settings that fit; or one line of refusal."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny
from evaluation.stubs import spots

from adm.app.cli import budgets, main
from adm.app.study.frontier import machine as machine_module
from adm.app.study.frontier.choose import recommended
from adm.app.study.frontier.stored import load, save
from adm.generation import diffusion
from adm.generation.manifest import read_manifest
from adm.store.arrays import write_npz

pytestmark = pytest.mark.xdist_group("budget")  # one worker makes what all of them use

Adm = Callable[..., tuple[int, str]]
GUIDED = ("--classifier", "guide.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, real images, and the frontier of one model."""
    folder = tmp_path_factory.mktemp("budget")
    tiny.model(folder / "model.safetensors", tiny.diffusion())
    tiny.model(folder / "other.safetensors", tiny.diffusion(), seed=1)
    tiny.model(folder / "guide.safetensors", tiny.classifier())
    images, labels = spots(40).batch(range(40))
    arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy(), "arr_1": labels.numpy()}
    write_npz(folder / "real.npz", arrays)
    text = "def rows(images):\n    return images.float().mean(dim=(1, 3))\n\nrows.name = 'rows'\n"
    (folder / "rows.py").write_text(text)
    words = ["frontier", "model.safetensors", "--reference", "real.npz", "--out", "out", *GUIDED]
    words += ["--features", "rows.py:rows", "--samplers", "ddim", "--spacings", "even"]
    words += ["--steps", "2,3", "--scales", "2", "--count", "6", "--trial-count", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as stopped:
            main(words)
    assert not stopped.value.code
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("ADM_TRACEBACK", raising=False)
    return tmp_path / "here"


@pytest.fixture
def adm(capsys: pytest.CaptureFixture[str]) -> Adm:
    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, words)])
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out + said.err

    return call


SAMPLE = ("sample", "model.safetensors", *GUIDED, "--count", 3)
AT_2 = ("--scale", 2)


def test_a_frontier_is_stored_in_its_folder_and_beside_the_model(here: Path) -> None:
    assert load(here / "model.frontier.json") == load(here / "out/frontier.json")
    assert {path.name for path in (here / "out").iterdir()} == {
        *("samples", "points", "references", "timings", "errors", "converged"),
        *("frontier.html", "frontier.json", "report.md", "frontier-rows.png", "frontier-error.png"),
    }


def test_a_budget_gives_the_images_of_the_command_that_the_frontier_recommends(
    here: Path, adm: Adm
) -> None:
    found = recommended(load(here / "out/frontier.json"), 2.0)
    assert found is not None
    status, said = adm(*SAMPLE, *AT_2, "--budget", "1min", "--out", "taken")
    assert status == 0, said
    assert f"{found.best.point.options}: " in said
    status, said = adm(*SAMPLE, *found.best.point.options.split(), "-o", "taken")
    assert status == 0, said
    assert "taken is complete: it holds these images" in said
    made = read_manifest(here / "taken")
    assert made is not None
    assert made["sampling"]["grid"]["steps"] == found.best.point.steps


def test_an_end_is_a_setting_that_a_budget_takes(here: Path, adm: Adm) -> None:
    words = (
        "frontier",
        "model.safetensors",
        "--reference",
        "real.npz",
        "--features",
        "rows.py:rows",
    )
    words = (*words, *GUIDED, "--samplers", "ddim", "--steps", 3, "--scales", 2, "--count", 6)
    status, said = adm(*words, "--spacings", "even", "--ends", 2, "--out", "even")
    assert status == 2
    assert "end" in said
    status, said = adm(*words, "--spacings", "log_snr", "--ends", "2,4", "--out", "ends")
    assert status == 0, said
    frontier = load(here / "ends/frontier.json")
    assert {one.point.end for one in frontier.points} == {2.0, 4.0}
    assert len({one.error for one in frontier.points}) == 2
    assert "log_snr to 2" in (here / "ends/report.md").read_text("utf-8")
    found = recommended(frontier, 2.0)
    assert found is not None
    status, said = adm(*SAMPLE, *AT_2, "--budget", "1min", "--out", "taken")
    assert status == 0, said
    made = read_manifest(here / "taken")
    assert made is not None
    assert made["sampling"]["grid"]["end"] == found.best.point.end


def test_timings_of_another_machine_are_rescaled(
    here: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch
) -> None:
    frontier = load(here / "out/frontier.json")
    elsewhere = replace(frontier, machine=replace(frontier.machine, processor="another"))
    save(elsewhere, here / "out/frontier.json")
    seconds = [one.seconds for one in frontier.points if one.distances]
    monkeypatch.setattr(machine_module, "seconds_of", lambda job: 7 * min(seconds))
    words = (*SAMPLE, *AT_2, "--frontier", "out", "-o", "s", "--budget")
    status, said = adm(*words, f"{6.9 * min(seconds):.6f}s")
    assert status == 2
    assert "no settings sample an image at scale 2 in" in said
    status, said = adm(*words, f"{7.1 * min(seconds):.6f}s")
    assert status == 0, said
    assert "the frontier was measured on another, " in said
    assert "takes 7 times as long" in said


def test_the_precision_that_is_the_fastest_is_chosen_again_on_another_machine(
    here: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch
) -> None:
    frontier = load(here / "out/frontier.json")
    monkeypatch.setattr(
        diffusion,
        "concrete",
        lambda sampling, _: (
            replace(sampling, precision="bfloat16") if sampling.precision == "auto" else sampling
        ),
    )
    machines = {"the same": frontier.machine}
    machines["another"] = replace(frontier.machine, processor="another")
    found = {}
    for name, machine in machines.items():
        for auto in (True, False):
            save(
                replace(frontier, machine=machine, auto_precision=auto), here / "out/frontier.json"
            )
            folder = f"{name}-{auto}".replace(" ", "-")
            words = (*SAMPLE, *AT_2, "--frontier", "out", "-o", folder, "--budget", "1min")
            status, said = adm(*words)
            assert status == 0, said
            made = read_manifest(here / folder)
            assert made is not None
            found[name, auto] = made["sampling"]["precision"]
            assert f"--precision {found[name, auto]}: " in said
    assert frontier.points[0].point.precision == "float32"
    assert found == {
        ("the same", True): "float32",
        ("the same", False): "float32",
        ("another", True): "bfloat16",
        ("another", False): "float32",
    }


REFUSALS: dict[str, tuple[tuple[object, ...], str]] = {
    "no time": (("--budget", "soon"), "cannot read --budget 'soon'; write the time for an image"),
    "no unit": (("--budget", "0.05"), "cannot read --budget '0.05'; write the time for an image"),
    "nothing": (("--budget", "0s"), "cannot read --budget '0s'"),
    "too little": (("--budget", "0.001ms"), "no settings sample an image at scale 2 in "),
    "settings too": (("--budget", "1s", "--steps", 5), "--steps included; leave one of the two"),
    "another scale": (("--budget", "1s", "--scale", 3), "scale 3 was not measured, only 2; pass"),
    "no folder": (
        ("--budget", "1s", "--frontier", "none"),
        "none/frontier.json does not exist: no frontier is stored there; run `adm frontier model",
    ),
    "no budget": (("--frontier", "out"), "--frontier is for --budget; pass --budget as well"),
    "upsampler": (
        ("--budget", "1s", "--upsampler", "model.safetensors"),
        "--budget is for a model without an upsampler",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_budget_that_cannot_be_met_is_refused(here: Path, adm: Adm, name: str) -> None:
    words, line = REFUSALS[name]
    scale = () if "--scale" in words else AT_2
    status, said = adm(*SAMPLE, *scale, *words, "--out", "refused")
    assert status == 2
    assert line in said
    assert not (here / "refused").exists()


def test_the_refusal_of_a_budget_names_one_that_is_met(here: Path, adm: Adm) -> None:
    said = adm(*SAMPLE, *AT_2, "--budget", "0.001ms", "--out", "s")[1]
    budget = said.rpartition("pass --budget ")[2].strip()
    assert adm(*SAMPLE, *AT_2, "--budget", budget, "--out", "s")[0] == 0


@pytest.mark.parametrize("kind", ["model", "classifier", "checkpoint"])
def test_a_frontier_of_another_model_is_refused(here: Path, adm: Adm, kind: str) -> None:
    words = [*SAMPLE, *AT_2, "--budget", "1s", "--frontier", "out", "--out", "s"]
    other = {"model": "other.safetensors", "checkpoint": "other.safetensors"}.get(kind, "second")
    if kind == "classifier":
        tiny.model(here / other, tiny.classifier(), seed=5)
        words[words.index("guide.safetensors")] = other
    elif kind == "model":
        words[1] = other
    else:
        shutil.copy(other, "model.safetensors")
        words[words.index("--frontier") : words.index("--out")] = []
    status, said = adm(*words)
    assert status == 2
    what = "classifier" if kind == "classifier" else "model"
    assert f"frontier.json was measured with another {what}, " in said
    if kind == "model":
        words = ["frontier", other, "--reference", "real.npz", "--features", "rows.py:rows"]
        words += ["--steps", "4", "--count", "4"]
        status, said = adm(*words, *GUIDED, "--out", "out")
        assert status == 2
        assert "holds samples that differ in model" in said


def test_a_damaged_frontier_is_refused(here: Path, adm: Adm) -> None:
    told = asdict(load(here / "model.frontier.json")) | {"count": -1}
    (here / "model.frontier.json").write_text(json.dumps(told))
    status, said = adm(*SAMPLE, *AT_2, "--budget", "1s", "--out", "s")
    assert status == 2
    assert "model.frontier.json is damaged (count: " in said


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("0.05s", 0.05), (" 2 s", 2.0), (".5min", 30.0)]
)
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert budgets.seconds(text) == pytest.approx(seconds)
