"""References and cached features that are damaged -> one line, or the values written."""

from pathlib import Path

import numpy as np
import pytest
from evaluation.stubs import blocks, spots
from mutations import TEXTS, refusal

from adm.app.scoring import Extraction, extract, load_reference, make_reference
from adm.features import recorded_features


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_reference(spots(12), blocks()).save(folder / "ref.npz")
    return folder


@pytest.mark.parametrize("key", ["mu", "sigma", "arr_0", "features", "labels", "classes", "adm"])
@pytest.mark.parametrize(
    "array",
    [
        np.array(3),
        np.array([b"bytes"]),
        np.zeros((0, 0)),
        np.zeros((12, 16), complex),
        np.full((12, 16), np.nan),
        np.full((12, 16), np.inf, np.float16),
        np.full(12, 2**63, np.uint64),
        np.frombuffer(b"\xff\xff\xff\x7f" * 12, "<U1"),
        np.zeros((1,) * 20, bool),
    ],
    ids=range(9),
)
def test_an_array_of_another_kind_is_refused(
    folder: Path, tmp_path: Path, key: str, array: np.ndarray
) -> None:
    with np.load(folder / "ref.npz") as file:
        arrays = dict(file)
    path = tmp_path / "ref.npz"
    np.savez(path, **arrays | {key: array})
    message = refusal(lambda: load_reference(path, blocks()))
    if key == "classes" and array.dtype.kind != "U":
        return
    assert message is not None


@pytest.mark.parametrize("name", [each for each in TEXTS if each != "inception"])
def test_no_name_in_a_file_opens_anything(name: str) -> None:
    with pytest.raises(ValueError, match="which do not come with this package"):
        recorded_features(name, "ref.npz")


def test_a_cache_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    refusals: list[str | None] = []

    def during(images: object) -> None:
        again = lambda: extract(spots(12), blocks(), Extraction(work=tmp_path))  # noqa: E731
        refusals.append(refusal(again))

    extract(spots(12), blocks(on_extract=during), Extraction(work=tmp_path))
    assert "is in use by another process" in (refusals[0] or "")
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("work", "cure"),
    [
        (None, "temporary folder .* has no room for the numbers.*TMPDIR"),
        ("work", r"No space left.*work/0000"),
    ],
)
def test_a_full_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str | None, cure: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adm.store.work.write_npz", full)
    extraction = Extraction(work=work and tmp_path / work)
    with pytest.raises((ValueError, OSError), match=cure):
        extract(spots(12), blocks(), extraction)
