""".npy files, N channels, and data sets of Hugging Face's `datasets`."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from data.test_archives import png
from PIL import Image

from adm.data import CorruptImage, NoSplit, open_source

SEVEN = np.random.default_rng(1).integers(0, 256, (6, 8, 9, 7), dtype=np.uint8)


def test_npy_files_stay_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", SEVEN)
    source = open_source(str(tmp_path / "set.npy"), channels=7, size=(10, 10))
    assert source.classes == ("set",)
    inner = source.batch([4, 0])[0][:, :, 1:9, 0:9]
    assert torch.equal(inner, torch.from_numpy(SEVEN[[4, 0]]).permute(0, 3, 1, 2))
    assert torch.equal(source.read(4), source.batch([4])[0][0])


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_n_channels_are_kept_and_never_converted(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    np.save(path, SEVEN) if name == "set.npy" else np.savez(path, images=SEVEN)
    assert open_source(str(path)).shape == open_source(str(path), channels=7).shape == (7, 8, 9)
    with pytest.raises(ValueError, match=f"{name} has 7 channels and 3 were requested.*request 7"):
        open_source(str(path), channels=3)


def test_sources_with_labels_of_their_own_can_be_used_without_them(tmp_path: Path) -> None:
    array = tmp_path / "set.npz"
    np.savez(array, images=np.zeros((3, 4, 4, 1), np.uint8), labels=np.arange(3))
    for spec, title in [("digits", "digits"), (str(array), "set.npz")]:
        labelled, unlabelled = open_source(spec), open_source(spec, labels="none")
        assert (unlabelled.classes, unlabelled.labels.unique().tolist()) == ((title,), [0])
        assert torch.equal(unlabelled.batch([2, 0])[0], labelled.batch([2, 0])[0])
        assert unlabelled.name_in_list(1) == "train/1"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def make(labels: list | None, kind: object, count: int = 4):
        columns: dict = {"picture": [{"bytes": png(i), "path": None} for i in range(count)]}
        features: dict = {"picture": datasets.Image()}
        if labels is not None:
            columns["label"], features["label"] = labels[:count], kind
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    return datasets, make


def test_a_saved_data_set_keeps_its_splits_and_class_names(tmp_path: Path, rows) -> None:
    datasets, make = rows
    kind = datasets.ClassLabel(names=["zebra", "ant"])
    both = datasets.DatasetDict(train=make([1, 0, 1, 1], kind), validation=make([0, 1], kind, 2))
    both.save_to_disk(tmp_path / "saved")
    source = open_source(f"hf:{tmp_path / 'saved'}")
    assert (source.name, source.classes) == ("saved", ("zebra", "ant"))
    assert source.labels.tolist() == [1, 0, 1, 1]
    expected = np.asarray(Image.open(io.BytesIO(png(2)))).transpose(2, 0, 1)
    assert torch.equal(source.batch([2, 0])[0][0], torch.from_numpy(expected.copy()))
    assert len(open_source(f"hf:{tmp_path / 'saved'}", split="test", size=(2, 2), channels=1)) == 2


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        (["b", "a", "b", "b"], "string", ("a", "b")),
        ([3, 0, 3, 1], "int64", ("0", "1", "2", "3")),
        (None, None, ("one.parquet",)),
    ],
)
def test_parquet_files_with_and_without_labels(
    tmp_path: Path, rows, labels: list | None, kind: str | None, classes: tuple[str, ...]
) -> None:
    datasets, make = rows
    (tmp_path / "one.parquet").mkdir()
    make(labels, kind and datasets.Value(kind)).to_parquet(tmp_path / "one.parquet" / "a.parquet")
    source = open_source(f"hf:{tmp_path / 'one.parquet'}")
    assert source.classes == classes
    assert source.shape == (3, 6, 5)
    with pytest.raises(ValueError, match="has no test split; its splits are train"):
        open_source(f"hf:{tmp_path / 'one.parquet'}", split="test")


@pytest.mark.parametrize("absent", [-1, None])
def test_rows_without_a_label_are_refused_with_their_cure(
    tmp_path: Path, rows, absent: int | None
) -> None:
    datasets, make = rows
    kind = datasets.ClassLabel(names=["a", "b"])
    make([0, absent, 1, 1], kind).save_to_disk(tmp_path / "saved")
    with pytest.raises(
        NoSplit, match=r"label of some rows is -1 or absent; .* all rows are labelled"
    ):
        open_source(f"hf:{tmp_path / 'saved'}")


def test_a_broken_row_is_named(tmp_path: Path, rows) -> None:
    datasets, _ = rows
    columns = {"image": [{"bytes": png(0), "path": None}, {"bytes": png(1)[:70], "path": None}]}
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    with pytest.raises(CorruptImage, match=r"saved, train row 1 is not a"):
        open_source(f"hf:{tmp_path / 'saved'}", size=(2, 2)).batch([1])


def test_data_without_images_and_missing_names_are_refused(tmp_path: Path, rows) -> None:
    datasets, _ = rows
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="has no images in 1 row with the columns text; give"):
        open_source(f"hf:{tmp_path / 'saved'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"hf:.*empty cannot be opened .*; give NAME, NAME@CONFIG"):
        open_source(f"hf:{tmp_path / 'empty'}")
