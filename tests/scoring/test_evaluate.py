"""samples, a reference -> a report with its provenance and warnings."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from samples import archive, save_images
from scoring.stubs import blocks, select, spots, together

from adm.app.cli.evaluate import print_report
from adm.data import Source, open_source
from adm.features import Features
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import sample_into
from adm.generation.job import Job
from adm.models.load import load_diffusion
from adm.samplers import DDIM, Even, Sampling
from adm.scoring import (
    Comparison,
    Extraction,
    Opened,
    Reference,
    Report,
    Score,
    evaluate,
    extract,
    load_report,
    make_reference,
    open_images,
    resize_to,
)
from adm.scoring.report import ClassScores, class_scores
from adm.spec import convert

COUNT = 120


def score(samples: Source | Opened, real: Reference, features: Features, **options: Any) -> Report:
    opened = samples if isinstance(samples, Opened) else Opened(samples)
    return evaluate(opened, real, features, Comparison(**{"resamples": 20} | options))


@pytest.fixture(scope="module")
def real() -> Reference:
    return make_reference(spots(COUNT), blocks())


def test_the_report_states_its_provenance(real: Reference, tmp_path: Path) -> None:
    report = score(spots(60, seed=1), real, blocks(), resamples=50, seed=3)
    manifest = report.manifest
    assert manifest["features"] == {"name": "blocks", "fingerprint": "blocks-1"}
    generated = manifest["generated"]
    assert (generated["source"], generated["count"], generated["size"]) == ("spots", 60, [8, 8])
    assert generated["sha256"] == extract(spots(60, seed=1), blocks()).digest
    assert generated["labels"] == {"circle": 20, "square": 20, "star": 20}
    assert generated["balance"] == {"classes": 3, "fewest": 20, "most": 20}
    assert (generated["made"], generated["rounding"]) == (None, None)
    assert manifest["reference"]["sha256"] == real.manifest["sha256"]
    assert manifest["reference"]["count"] == manifest["reference"]["images"] == COUNT
    assert (manifest["resamples"], manifest["seed"], manifest["resize"]) == (50, 3, None)
    assert {"adm", "torch", "numpy", "python"} <= manifest["versions"].keys()


def test_a_report_is_the_same_from_its_file(real: Reference, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    for _ in range(2):
        report = score(spots(60, seed=1), real, blocks(), resamples=50)
        before = path.read_bytes() if path.exists() else None
        report.save(path)
    assert path.read_bytes() == before
    back = load_report(path)
    assert back.to_json() == report.to_json() == json.loads(path.read_text("utf-8"))
    assert back.scores == report.scores
    unknown = replace(report, scores={"frechet": report.scores["frechet"]._replace(low=math.nan)})
    unknown.save(path)
    assert json.loads(path.read_text("utf-8"))["scores"]["frechet"]["low"] is None
    assert math.isnan(load_report(path).scores["frechet"].low)
    for text in ("no JSON", '{"scores": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a report"):
            load_report(path)


def test_every_process_has_the_report(real: Reference) -> None:
    alone = score(spots(60, seed=1), real, blocks(), resamples=50)
    reports = together(
        2,
        lambda d: evaluate(
            Opened(spots(60, seed=1)), real, blocks(), Comparison(resamples=50), Extraction(d)
        ),
    )
    assert [report.to_json() for report in reports] == [alone.to_json()] * 2


def test_samples_of_ours_say_how_they_were_made(tmp_path: Path) -> None:
    model = load_diffusion(tiny.model(tmp_path / "m.safetensors", tiny.diffusion()))
    sampling = Sampling(sampler=DDIM(eta=0.5), grid=Even(steps=3), seed=7, rounding="truncated")
    job = Job(DiffusionGenerator(model, sampling), [0, 1, 2, 2, 1, 0], 6)
    sample_into(tmp_path / "out", job)
    opened = open_images(str(tmp_path / "out"))
    assert opened.source.labels.tolist() == [0, 1, 2, 2, 1, 0]
    assert opened.source.classes == tiny.CLASSES
    real = make_reference(tiny.stripes(), blocks())
    report = score(opened, real, blocks())
    manifest = report.manifest["generated"]["made"]
    assert convert(Sampling, manifest["sampling"]) == sampling
    assert manifest["model"]["sha256"] == job.manifest()["model"]["sha256"]
    assert report.manifest["generated"]["labels"] == {"sneaker": 2, "bag": 2, "ankle boot": 2}
    assert report.manifest["generated"]["rounding"] == "truncated"
    again = open_images(str(tmp_path / "out" / "samples.npz"))
    assert again.manifest == opened.manifest
    assert torch.equal(again.source.batch(range(6))[0], opened.source.batch(range(6))[0])
    (tmp_path / "out" / "samples.json").write_text("{")
    with pytest.raises(ValueError, match=r"samples\.json is not as it was written"):
        open_images(str(tmp_path / "out"))


def test_classes_of_one_name_are_one_class(real: Reference) -> None:
    twice = ("circle", "circle", "star")  # circles are 40, and so are squares
    generated = extract(spots(COUNT, seed=1), blocks())
    for ours, theirs, counts in (
        (generated.classes, twice, {"circle": (40, 80), "star": (40, 40)}),
        (twice, real.classes, {"circle": (80, 40), "star": (40, 40)}),
        (twice, twice, {"circle": (80, 80), "star": (40, 40)}),
    ):
        rows = class_scores(replace(generated, classes=ours), replace(real, classes=theirs))
        assert {row.name: (row.generated, row.real) for row in rows} == counts


def test_images_from_any_source_are_the_same_images(tmp_path: Path) -> None:
    images, labels = spots(9, channels=3).batch(range(9))
    save_images(tmp_path / "ours", images, labels, ("circle", "square", "star"), 0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, file in enumerate(sorted((tmp_path / "ours").glob("*.png"))):
        file.rename(pictures / f"{number}.png")
    archive(tmp_path / "packed.npz", images)
    sources = (tmp_path / "ours", pictures, tmp_path / "packed.npz")
    extracted = [extract(open_images(str(source)).source, blocks()) for source in sources]
    assert extracted[0].digest == extracted[2].digest
    assert {bytes(row) for row in extracted[1].hashes} == {
        bytes(row) for row in extracted[0].hashes
    }


def test_other_sizes_are_refused_unless_resize_is_set(real: Reference) -> None:
    large = spots(60, seed=1, size=16)
    with pytest.raises(ValueError, match="16x16 and the reference of 8x8; resize=to-reference"):
        score(large, real, blocks())
    with pytest.raises(ValueError, match="resize must be 'to-reference' or 'none'"):
        score(large, real, blocks(), resize="bigger")
    as_it_is = score(large, real, blocks(), resize="none")
    fitted = score(large, real, blocks(), resize="to-reference")
    assert as_it_is.manifest["generated"]["size"] == [16, 16]
    assert fitted.manifest["generated"]["size"] == [8, 8]
    assert as_it_is.scores["frechet"] != fitted.scores["frechet"]
    assert any("(16, 16)" in warning for warning in as_it_is.warnings)
    assert any("resized" in warning for warning in fitted.warnings)


def test_resizing_keeps_even_images_however_they_are_read(tmp_path: Path) -> None:
    images = torch.full((3, 3, 10, 14), 77, dtype=torch.uint8)
    save_images(tmp_path / "flat", images, None, (), 0)
    for source in (open_images(str(tmp_path / "flat")).source, open_source(str(tmp_path / "flat"))):
        small = resize_to(source, (6, 5))
        assert small.shape == (3, 6, 5)
        assert small.batch([1])[0].unique().tolist() == small.read(0).unique().tolist() == [77]


def test_few_images_come_with_a_warning_and_an_estimate(real: Reference) -> None:
    report = score(spots(240, seed=1), real, blocks())
    first = report.warnings[0]
    assert first.startswith("Fréchet distance (blocks) of 240 images is biased upwards")
    estimate = max(0, report.scores["frechet_at_infinity"].value)  # a distance is never below 0
    assert f"about {estimate:.4g}" in first
    as_many = score(spots(16, seed=1), real, blocks())
    assert "16 images, no more than the 16 features, is biased" in as_many.warnings[0]
    assert "infinitely many" not in as_many.warnings[0]
    assert "frechet_at_infinity" not in as_many.scores


def test_classes_in_other_shares_are_named(real: Reference) -> None:
    source = select(spots(COUNT, seed=1), [*range(0, COUNT, 3), 1, 2, 4, 5])
    warnings = " ".join(score(source, real, blocks()).warnings)
    assert "circle is 90.9% of the samples and 33.3% of the reference" in warnings


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Not read as markup, which would raise an error or drop a part of a name."""
    name = "a\\[b] [/x] dog [husky]"
    row = ClassScores(f"{name} class", 30, 40, 1.0, 0.5, 0.25)
    print_report(Report("network", {"frechet": Score(1.5, 1.0, 2.0)}, {}, [row], [name]))
    text = " ".join(capsys.readouterr().out.split())
    assert f"{name} class" in text
    assert f"note: {name}" in text
