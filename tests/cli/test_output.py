"""--json -> one JSON document; --quiet -> results and errors only; -o -> --out."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import Adm, Answer
from PIL import Image
from samples import archive
from scoring.stubs import spots

from adm.app import notices
from adm.app.cli import output

POOL = """
import torch


def pool(images):
    grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 4)
    return grid.flatten(1)
"""
FEATURES = ("--features", "pool.py:pool", "--device", "cpu")
SWEEP = ("--reference", "real.npz", *FEATURES, "--count", 6)


@pytest.fixture
def workdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path, tmp_path_factory: Any
) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    (tmp_path / "pool.py").write_text(POOL)
    for name, count in (("real", 40), ("samples", 30)):
        archive(f"{name}.npz", spots(count, seed=count).batch(range(count))[0])
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("L", (4, 4), i).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "model.safetensors").symlink_to(models / "model.safetensors")
    return tmp_path


def document(answer: Answer) -> Any:
    """The only thing on standard output, strictly parsed."""
    assert answer.status == 0, answer.err

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(answer.out, parse_constant=refuse)


RESULTS: dict[str, tuple[tuple[object, ...], Callable[[Any], bool]]] = {
    "evaluate": (
        ("samples.npz", "--reference", "real.npz", "--resamples", 20, "-o", "r.json", *FEATURES),
        lambda report: report == json.loads(Path("r.json").read_text()),
    ),
    "nearest": (
        ("samples.npz", "real.npz", "-o", "n.png", *FEATURES),
        lambda report: report["samples"] == len(report["nearest"]),
    ),
    "reference": (
        ("real.npz", "-o", "ref.npz", *FEATURES),
        lambda report: report["count"] == 40 and report["file"] == "ref.npz",
    ),
    "cluster": (
        ("real.npz", "-o", "l.csv", "--clusters", "3", *FEATURES),
        lambda report: (
            report == json.loads(Path("l.json").read_text()) and sum(report["sizes"]) == 40
        ),
    ),
    "sweep": (
        ("model.safetensors", *SWEEP, "--vary", "scale=0", "--vary", "steps=2", "-o", "swept"),
        lambda report: report == json.loads(Path("swept/report.json").read_text()),
    ),
    "data": (
        ("inspect", "photos", "-o", "d.html"),
        lambda report: report["images"] == 3 and sum(report["classes"].values()) == 3,
    ),
    "doctor": (
        ("model.safetensors", "-o", "doctor.html", "--count", 8, "--device", "cpu"),
        lambda report: {"settings", "error", "colours"} <= set(report["findings"]),
    ),
    "info": (
        ("model.safetensors",),
        lambda report: report["parameters"] > 0 and report["recipe"]["kind"] == report["kind"],
    ),
    "recipes": ((), lambda report: {"fashion", "digits"} <= {each["name"] for each in report}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_one_json_document(workdir: Path, adm: Adm, name: str) -> None:
    words, right = RESULTS[name]
    answer = adm(name, *words, "--json")
    assert right(document(answer))
    if "-o" in words:
        place = str(words[words.index("-o") + 1])
        assert Path(place).exists()
        assert place in answer.err  # the notice that names it


def test_scores_in_float16_are_added_to_the_others(workdir: Path, adm: Adm) -> None:
    words = ("evaluate", "samples.npz", "--reference", "real.npz", "--resamples", 20, *FEATURES)
    default, half = (document(adm(*words, *more, "--json")) for more in ((), ("--float16",)))
    added = half["scores"].keys() - default["scores"].keys()
    assert added == {"precision_float16", "recall_float16"}
    assert all(half["scores"][name] == score for name, score in default["scores"].items())
    for name in added:
        expected = default["scores"][name.removesuffix("_float16")]["value"]
        assert half["scores"][name]["value"] == pytest.approx(expected, abs=0.1)


def test_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(lambda: {"a": [math.nan, 1.5], "b": (math.inf,)}, True, lambda: None)
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": [None]}


QUIET: dict[str, tuple[tuple[object, ...], str]] = {
    "sample": (("model.safetensors", "--count", 2, "--steps", 2, "-o", "out"), ""),
    "evaluate": (
        ("samples.npz", "--reference", "real.npz", "--resamples", 20, *FEATURES),
        "recall",
    ),
    "info": (("model.safetensors",), "parameters"),
}


@pytest.mark.parametrize("verb", QUIET)
def test_quiet_commands_print_results_only(workdir: Path, adm: Adm, verb: str) -> None:
    words, result = QUIET[verb]
    answer = adm.done(verb, *words, "-q")
    assert answer.err == ""
    assert (result in answer.out) if result else (answer.out == "")
    assert "note:" not in answer.out


def test_quiet_commands_print_errors_and_requested_documents(workdir: Path, adm: Adm) -> None:
    assert "no recipe 'fashon'" in adm("--quiet", "recipes", "fashon").refusal()
    assert json.loads(adm("train", "digits", "-o", "run", "--dry-run", "-q").out)
    assert "parameters" in document(adm("info", "model.safetensors", "--json", "-q"))


def test_the_next_command_of_a_process_is_not_quiet(workdir: Path, adm: Adm) -> None:
    words = ("sample", "model.safetensors", "--count", 2, "--steps", 2, "-o")
    assert adm(*words, "one", "-q").out == ""
    assert not notices.quiet()  # nor is the rest of the process
    assert "two: 2 images" in adm(*words, "two").out
