"""Damaged references, reports, manifests and cached features -> one line, or the values written."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.stubs import blocks, spots

from adm.app.scoring import (
    Extraction,
    Report,
    Score,
    extract,
    load_reference,
    load_report,
    make_reference,
    open_images,
)
from adm.app.scoring.classes import ClassScores
from adm.features import recorded_features

NASTY: list[Any] = [
    None, True, -1, 0, 2**64, 10**400, 1e308, "", "x" * 100_000, "\x1b[31m\n", "../../etc/passwd",
    "https://example.org/f.npz", "os:system", "__class__", [], [[]], [None], {},
    {"": {}}, {"a": [1]},
]  # fmt: skip
LONGEST = 900  # characters of a message, with a path of pytest's


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_reference(spots(12), blocks()).save(folder / "ref.npz")
    images, labels = spots(12, seed=1).batch(range(12))
    arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy(), "arr_1": labels.numpy()}
    (folder / "samples").mkdir()
    np.savez(folder / "samples" / "samples.npz", **arrays)
    manifest = {"classes": ["a", "b", "c"], "model": {"name": "m"}, "count": 12, "low_res": None}
    (folder / "samples" / "samples.json").write_text(json.dumps(manifest))
    row = ClassScores("a", 30, 40, 1.0, 0.5, None)
    report = Report("blocks", {"frechet": Score(1.5)}, {"generated": {}}, [row], ["warned"])
    report.save(folder / "report.json")
    return folder


def outcome(read: Callable[[], object]) -> tuple[object, str | None]:
    """What a reader returns, or the message of its ValueError; other exceptions fail the test."""
    try:
        return read(), None
    except ValueError as error:
        return None, str(error)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a JSON value."""
    yield at
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in children:
        yield from places(child, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], by: Any) -> Any:
    """A copy of a JSON value with another value, or none, at a place."""
    if not at:
        return by
    copied = value.copy()
    copied[at[0]] = replaced(value[at[0]], at[1:], by)
    return copied


def substituted(value: Any) -> Iterator[Any]:
    """JSON values in which one value is another."""
    for at in places(value):
        for nasty in NASTY:
            yield replaced(value, at, nasty)


def test_damaged_bytes_of_a_reference_are_refused_or_change_nothing(
    made: Path, tmp_path: Path
) -> None:
    content, draw = (made / "ref.npz").read_bytes(), random.Random(0)
    whole, path = load_reference(made / "ref.npz"), tmp_path / "ref.npz"
    mutants = [content[:place] for place in range(0, len(content), 211)]
    for _ in range(200):
        place = draw.randrange(len(content))
        mutants.append(content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :])
    refused = 0
    for each in mutants:
        path.write_bytes(each)
        found, message = outcome(lambda: load_reference(path))
        if message is not None:
            refused += 1
            assert message.isprintable()
            continue
        for key in ("features", "fingerprint", "count", "classes"):
            assert getattr(found, key) == getattr(whole, key)
        for key in ("pool", "images", "labels"):
            assert np.array_equal(getattr(found, key), getattr(whole, key))
        assert np.array_equal(found.statistics.covariance, whole.statistics.covariance)
    assert refused > len(mutants) / 2


def test_odd_metadata_of_a_reference_are_refused_or_scored(made: Path, tmp_path: Path) -> None:
    with np.load(made / "ref.npz") as file:
        arrays = dict(file)
    about, path = json.loads(arrays["adm"].item()), tmp_path / "ref.npz"
    refused = 0
    del about["manifest"]["versions"]  # which nothing reads
    mutants = list(substituted(about))
    for each in mutants:
        np.savez(path, **arrays | {"adm": np.array(json.dumps(each))})
        _, message = outcome(lambda: load_reference(path, blocks()))
        if message is not None:
            refused += 1
            assert message.isprintable()
            assert len(message) < LONGEST
        else:
            found = load_reference(path)
            assert type(found.count) is int or found.count is None
            json.dumps(found.manifest)
    assert refused > 50


@pytest.mark.parametrize("key", ["mu", "sigma", "arr_0", "features", "labels", "classes", "adm"])
@pytest.mark.parametrize(
    "array",
    [
        np.array(3),
        np.array("text"),
        np.array([b"bytes"]),
        np.zeros((0, 0)),
        np.zeros((12, 16), complex),
        np.full((12, 16), np.nan),
        np.full(16, np.inf, np.float32),
        np.full((12, 16), 1e30),
        np.full((12, 16), np.inf, np.float16),
        np.full(12, 2**63, np.uint64),
        np.frombuffer(b"\xff\xff\xff\x7f" * 12, "<U1"),
        np.zeros((1,) * 20, bool),
    ],
    ids=range(12),
)
def test_an_array_of_another_kind_is_refused(
    made: Path, tmp_path: Path, key: str, array: np.ndarray
) -> None:
    with np.load(made / "ref.npz") as file:
        arrays = dict(file)
    path = tmp_path / "ref.npz"
    np.savez(path, **arrays | {key: array})
    _, message = outcome(lambda: load_reference(path, blocks()))
    if key == "classes" and array.dtype.kind != "U":
        return
    assert message is not None
    assert message.isprintable()


def test_odd_manifests_of_samples_are_refused_or_scored(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "samples.npz").write_bytes((made / "samples/samples.npz").read_bytes())
    manifest = json.loads((made / "samples/samples.json").read_text())
    for each in substituted(manifest):
        (folder / "samples.json").write_text(json.dumps(each))
        found, message = outcome(lambda: open_images(str(folder)))
        assert message is None or (message.isprintable() and len(message) < LONGEST)
        assert message is not None or all(type(name) is str for name in found.source.classes)


def test_a_lone_surrogate_is_refused_before_it_fails_to_be_written(
    made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "samples.npz").write_bytes((made / "samples/samples.npz").read_bytes())
    (folder / "samples.json").write_text('{"classes": ["a", "b", "\\ud800"]}')
    with pytest.raises(ValueError, match=r"samples\.json is damaged"):
        open_images(str(folder))


def test_odd_reports_are_refused_or_what_they_say(made: Path, tmp_path: Path) -> None:
    path, refused = tmp_path / "report.json", 0
    for each in substituted(json.loads((made / "report.json").read_text())):
        path.write_text(json.dumps(each))
        found, message = outcome(lambda: load_report(path))
        if message is None:
            assert isinstance(found, Report)
            json.dumps(found.to_json())
        else:
            refused += 1
            assert message.isprintable()
    assert refused > 150


@pytest.mark.parametrize("name", [each for each in NASTY if isinstance(each, str)])
def test_no_name_in_a_file_opens_anything(name: str) -> None:
    with pytest.raises(ValueError, match="which do not come with this package"):
        recorded_features(name, "ref.npz")


def test_features_of_a_reference_must_be_of_numbers(made: Path, tmp_path: Path) -> None:
    with np.load(made / "ref.npz") as file:
        arrays = dict(file)
    arrays["features"] = arrays["features"].copy()
    arrays["features"][7, 3] = np.nan
    np.savez(tmp_path / "ref.npz", **arrays)
    with pytest.raises(ValueError, match=r"features from image 0: its values are not finite"):
        load_reference(tmp_path / "ref.npz")


PART = "00000000-00000012.npz"


def swapped(path: Path) -> None:
    other = path.parent.parent / "other"
    extract(spots(12, seed=5), blocks(), Extraction(work=other))
    path.write_bytes((other / PART).read_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        swapped,
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
    ],
    ids=["of other images", "zeroed", "empty", "truncated"],
)
def test_cached_features_that_are_not_those_written_are_extracted_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole = extract(spots(12), blocks(), Extraction(work=tmp_path / "work")).pool.copy()
    damage(tmp_path / "work" / PART)
    again = extract(spots(12), blocks(), Extraction(work=tmp_path / "work"))
    assert np.array_equal(again.pool, whole)


def test_a_cache_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    refusals: list[str] = []

    def during(images: object) -> None:
        _, message = outcome(lambda: extract(spots(12), blocks(), Extraction(work=tmp_path)))
        refusals.append(str(message))

    extract(spots(12), blocks(on_extract=during), Extraction(work=tmp_path))
    assert "is in use by another process" in refusals[0]
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("work", "cure"),
    [
        (None, "temporary folder .* has no room for the features.*TMPDIR"),
        ("work", r"No space left.*work/0000"),
    ],
)
def test_a_full_disk_is_said_to_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str | None, cure: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adm.store.parts.write_npz", full)
    given = Extraction(work=work and tmp_path / work)
    with pytest.raises((ValueError, OSError), match=cure):
        extract(spots(12), blocks(), given)
