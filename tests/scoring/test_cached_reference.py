"""data, a folder -> a reference computed once, and again after a change."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scoring.stubs import blocks, spots, together

from adm.data import Source
from adm.scoring import Extraction, cached_reference, extract, extraction, make_reference
from adm.scoring.reference import MOST

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
    assert again.manifest == first.manifest == make_reference(spots(COUNT), blocks()).manifest
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".npz"


def test_other_images_and_other_features_of_the_same_name_make_another(tmp_path: Path) -> None:
    cached_reference(spots(COUNT), blocks(), tmp_path)
    changed = changed_last(spots(COUNT))
    reference = cached_reference(changed, blocks(), tmp_path)
    assert reference.manifest["sha256"] == extract(changed, blocks()).digest
    others = blocks()
    object.__setattr__(others, "fingerprint", "blocks-2")
    assert cached_reference(changed, others, tmp_path).fingerprint == "blocks-2"
    relabelled = replace(changed, labels=changed.labels.flip(0))
    assert np.array_equal(
        cached_reference(relabelled, blocks(), tmp_path).labels, relabelled.labels.numpy()
    )


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda content: bytes(len(content)), flipped])
def test_a_damaged_reference_is_computed_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = cached_reference(spots(COUNT), blocks(), tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(damage(content))
    again = cached_reference(spots(COUNT), blocks(), tmp_path)
    assert np.array_equal(again.pool, first.pool)
    assert path.read_bytes() == content


def test_every_process_has_the_reference_cached_or_not(tmp_path: Path) -> None:
    expected = make_reference(spots(COUNT), blocks())
    counts: list[int] = []
    features = blocks(on_extract=lambda images: counts.append(len(images)))
    for _ in range(2):
        for reference in together(
            3, lambda d: cached_reference(spots(COUNT), features, tmp_path, Extraction(d))
        ):
            assert np.array_equal(reference.pool, expected.pool)
    assert sum(counts) == COUNT


def test_a_folder_retains_the_references_used_last(tmp_path: Path) -> None:
    counts: list[int] = []
    features = blocks(on_extract=lambda images: counts.append(len(images)))
    for seed in range(MOST):
        cached_reference(spots(4, seed=seed), features, tmp_path)
    cached_reference(spots(4, seed=0), features, tmp_path)
    cached_reference(spots(4, seed=MOST), features, tmp_path)
    assert len([*tmp_path.iterdir()]) == MOST
    before = len(counts)
    cached_reference(spots(4, seed=0), features, tmp_path)
    assert len(counts) == before
    cached_reference(spots(4, seed=1), features, tmp_path)
    assert len(counts) == before + 1


def test_a_folder_that_cannot_be_written_caches_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reference = cached_reference(spots(COUNT), blocks(), tmp_path / "file" / "references")
    assert reference.manifest == make_reference(spots(COUNT), blocks()).manifest
