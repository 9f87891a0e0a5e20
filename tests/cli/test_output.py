"""--json -> one JSON document; --quiet -> results and errors only; -o -> --out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import Adm, Answer
from samples import archive
from scoring.stubs import spots

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
    "sweep": (
        ("model.safetensors", *SWEEP, "--vary", "scale=0", "--vary", "steps=2", "-o", "swept"),
        lambda report: report == json.loads(Path("swept/report.json").read_text()),
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
