"""data, a sweep's folder -> a reference made once, and again when it would be another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.stubs import blocks, spots, together

from adm.app.scoring import Extraction, extract, extraction, make_reference
from adm.app.study.scoring import cached_reference
from adm.data import Source

COUNT = 50


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PART", 8)


def changed_last(source: Source) -> Source:
    images = source.batch(range(len(source)))[0]
    images[-1, 0, -1, -1] ^= 1
    return replace(source, images=lambda rows: images[rows])


def test_features_of_the_same_data_are_extracted_once(tmp_path: Path) -> None:
    counts: list[int] = []
    features = blocks(on_extract=lambda images: counts.append(len(images)))
    first = cached_reference(spots(COUNT), features, tmp_path)
    assert sum(counts) == COUNT
    again = cached_reference(spots(COUNT), features, tmp_path)
    assert sum(counts) == COUNT
    assert again.manifest == first.manifest
    assert {path.name for path in (tmp_path / "references").iterdir()} == {
        "blocks.npz",
        "blocks.json",
    }


def test_other_images_and_other_features_of_the_same_name_make_another(tmp_path: Path) -> None:
    cached_reference(spots(COUNT), blocks(), tmp_path)
    changed = changed_last(spots(COUNT))
    found = cached_reference(changed, blocks(), tmp_path)
    assert found.manifest["sha256"] == extract(changed, blocks()).digest
    others = blocks()
    object.__setattr__(others, "fingerprint", "blocks-2")
    assert cached_reference(changed, others, tmp_path).fingerprint == "blocks-2"


@pytest.mark.parametrize("content", [b"", None])
def test_a_reference_that_was_damaged_is_made_again(tmp_path: Path, content: bytes | None) -> None:
    made = cached_reference(spots(COUNT), blocks(), tmp_path)
    path = tmp_path / "references" / "blocks.npz"
    path.write_bytes(bytes(path.stat().st_size) if content is None else content)
    again = cached_reference(spots(COUNT), blocks(), tmp_path)
    assert np.array_equal(again.pool, made.pool)


def test_every_process_has_it_kept_or_not(tmp_path: Path) -> None:
    made = make_reference(spots(COUNT), blocks())
    counts: list[int] = []
    features = blocks(on_extract=lambda images: counts.append(len(images)))
    for _ in range(2):
        for each in together(
            3, lambda d: cached_reference(spots(COUNT), features, tmp_path, Extraction(d))
        ):
            assert np.array_equal(each.pool, made.pool)
    assert sum(counts) == COUNT
