"""adm likelihood, adm.likelihood -> bits of a few images, the same by every route."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from answers import Adm
from samples import archive
from scoring.stubs import together

import adm as front
from adm.data import shuffle
from adm.data.source import in_memory
from adm.store import work

pytestmark = pytest.mark.xdist_group("likelihood")  # one worker measures for all tests
SOURCE = tiny.stripes(7)
BOUNDS = ("variational", "variational:drawn=5", "ode:steps=6,probes=3")


def npz(folder: Path, source=SOURCE, name: str = "data.npz") -> Path:
    return archive(folder / name, *source.batch(range(len(source))), source.classes)


def words(models: Path, data: Path, out: Path, *bounds: str) -> list[object]:
    options = [word for bound in bounds for word in ("--bound", bound)]
    fixed = ["--batch-size", 2, "--device", "cpu", "--out", out]
    return ["likelihood", models / "model.safetensors", data, *options, *fixed]


def estimates(out: Path) -> dict[str, dict]:
    return {
        each["bound"]: each for each in json.loads((out / "report.json").read_text())["estimates"]
    }


@pytest.fixture(scope="module")
def measured(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all bounds, from Python."""
    folder = tmp_path_factory.mktemp("whole")
    options = {"bound": BOUNDS, "batch_size": 2, "out": folder / "out"}
    front.likelihood(models / "model.safetensors", str(npz(folder)), **options)
    return folder


def test_a_total_is_the_sum_of_its_terms_and_has_an_interval(measured: Path) -> None:
    by_bound = estimates(measured / "out")
    assert [*by_bound] == [*BOUNDS]
    for each in by_bound.values():
        bits = each["bits_per_dimension"]
        assert bits["value"] == pytest.approx(sum(t["value"] for t in each["terms"].values()))
        assert bits["value"] == pytest.approx(np.mean(each["images"]))
        assert bits["low"] < bits["value"] < bits["high"]
        assert sum(each["curve"]["weight"]) == (6 if "ode" in each["bound"] else 20)
    assert {"prior", "divergences", "decoder"} == by_bound["variational"]["terms"].keys()
    whole, drawn, ode = by_bound.values()
    assert drawn["terms"]["decoder"] == whole["terms"]["decoder"]  # of the same noise
    assert ode["by_probes"]["low"] < ode["bits_per_dimension"]["value"] < ode["by_probes"]["high"]
    assert {path.name for path in (measured / "out").iterdir()} == {"parts", "report.json"}


def test_a_stopped_command_resumes_to_the_same_report(
    adm: Adm, models: Path, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = work.write_npz, list[Path]()

    def deadly(path: Path, entries: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        if path.name != work.WHOLE:
            written.append(path)
        write(path, entries)

    monkeypatch.setattr(work, "write_npz", deadly)
    call, out = words(models, measured / "data.npz", tmp_path / "out", *BOUNDS), tmp_path / "out"
    stopped = adm(*call)
    assert "run the same command again to resume" in stopped.err
    assert not (out / "report.json").exists()
    monkeypatch.setattr(work, "write_npz", write)
    ended = adm.done(*call)
    assert len([*out.glob("parts/*/0*.npz")]) == 4 * len(BOUNDS)
    assert (out / "report.json").read_bytes() == (measured / "out/report.json").read_bytes()
    assert ended.out.count("bits per dimension by") == len(BOUNDS)


def test_several_ranks_measure_what_one_does(models: Path, measured: Path, tmp_path: Path) -> None:
    model, data = models / "model.safetensors", str(measured / "data.npz")
    how = {"bound": BOUNDS[1:], "batch_size": 2, "out": tmp_path / "out"}
    bits = together(3, lambda devices: front.likelihood(model, data, devices=devices, **how))
    assert len({str(each) for each in bits}) == 1
    assert estimates(tmp_path / "out").items() <= estimates(measured / "out").items()


def test_all_levels_that_are_drawn_are_the_whole(models: Path, measured: Path) -> None:
    model = models / "model.safetensors"
    report = front.likelihood(model, SOURCE, bound="variational:drawn=20", batch_size=2)
    whole = estimates(measured / "out")["variational"]
    assert report.estimates[0].to_json()["images"] == pytest.approx(whole["images"], rel=1e-5)


def test_parts_of_another_seed_are_not_taken(models: Path, tmp_path: Path) -> None:
    """Nor of other noise on the same images, in whatever order."""
    model, bound = models / "model.safetensors", "variational:drawn=3"
    alike = in_memory("alike", SOURCE.classes, *SOURCE.batch([0] * 7)[:2])

    def images(seed: int, out: Path) -> list[float]:
        report = front.likelihood(model, alike, bound=bound, seed=seed, out=out)
        return report.to_json()["estimates"][0]["images"]

    one, other = images(0, tmp_path / "both"), images(1, tmp_path / "both")
    assert other == images(1, tmp_path / "alone")
    assert sorted(one) != sorted(other)
    assert one == images(0, tmp_path / "both")


def test_a_model_is_conditioned_on_the_class_of_the_same_name(
    adm: Adm, models: Path, measured: Path, tmp_path: Path
) -> None:
    images, labels = SOURCE.batch(range(len(SOURCE)))
    turned = in_memory("data", SOURCE.classes[::-1], images, 2 - labels)
    model = models / "model.safetensors"

    def bits(source, **options) -> list[float]:
        report = front.likelihood(model, source, bound="variational:drawn=2", **options)
        return report.estimates[0].arrays["total"].tolist()

    own = bits(SOURCE)
    assert bits(turned) == own
    assert bits(SOURCE, labels="none") != own
    shuffled = labels[shuffle(0, len(SOURCE), 0, len(SOURCE))]
    for label in range(3):
        alike = bits(in_memory("alike", SOURCE.classes, images, torch.full_like(labels, label)))
        same = np.isclose(alike, own, rtol=1e-6)
        assert same[shuffled == label].all()
        assert not same[shuffled != label].any()
    others = in_memory("others", ("cat", "dog", "bag"), images, labels)
    refused = adm(*words(models, npz(tmp_path, others), tmp_path / "out")).refusal()
    assert "measure it without classes by --labels none" in refused
    assert bits(others, labels="none") == bits(SOURCE, labels="none")


def test_more_images_begin_with_the_same_ones(models: Path) -> None:
    model, options = (
        models / "model.safetensors",
        {"bound": "variational:drawn=2", "batch_size": 2},
    )
    few, many = (front.likelihood(model, SOURCE, count=count, **options) for count in (4, 6))
    assert few.task.order == many.task.order[:4]
    total = many.estimates[0].arrays["total"]
    assert few.estimates[0].arrays["total"].tolist() == total[:4].tolist()


REFUSED = {
    "too many": (["--count", 8], "--count must be from 2 to 7"),
    "steps beyond T": (["--bound", "ode:steps=21"], "steps of --bound must be in 2..20, got 21"),
    "levels beyond T": (
        ["--bound", "variational:drawn=21"],
        "drawn of --bound must be from 2 to 20",
    ),
    "no such bound": (["--bound", "elbo"], "--bound must be one of variational, ode"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_be_used_are_refused(
    adm: Adm, models: Path, measured: Path, tmp_path: Path, case: str
) -> None:
    options, expected = REFUSED[case]
    call = ["likelihood", models / "model.safetensors", measured / "data.npz", *options]
    assert expected in adm(*call, "--out", tmp_path / "out").refusal()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("up.safetensors", "up starts from another image"),
        ("guide.safetensors", "give a diffusion model"),
        ("fashion-fast", "is distilled, and takes the steps"),
    ],
)
def test_models_without_a_density_are_refused(
    adm: Adm, models: Path, measured: Path, tmp_path: Path, model: str, expected: str
) -> None:
    path = {"fashion-fast": model}.get(model, models / model)
    call = ["likelihood", path, measured / "data.npz", "--out", tmp_path / "out"]
    assert expected in adm(*call).refusal()


@pytest.mark.parametrize("changes", [{"channels": 3}, {"size": (9, 8)}])
def test_images_of_another_shape_are_refused(
    adm: Adm, models: Path, tmp_path: Path, changes: dict
) -> None:
    data = npz(tmp_path, tiny.stripes(6, **changes))
    refused = adm(*words(models, data, tmp_path / "out")).refusal()
    assert "takes 1x8x8; give a folder" in refused
    assert "resized and cropped" in refused
