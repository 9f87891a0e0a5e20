"""scikit-learn's digits: all of them, spread over 0..255, split by index within the class."""

import pytest
import torch

from adm.data.digits import digits

datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")


def test_the_splits_are_the_whole_set_once() -> None:
    train, test = digits(), digits(split="test")
    assert len(train) + len(test) == 1797
    levels = torch.from_numpy(datasets.load_digits().images.astype("uint8")).reshape(-1, 64)
    both = torch.cat([source.batch(range(len(source)))[0] for source in (train, test)])
    undone = (both.reshape(-1, 64).float() * 16 / 255).round().byte()
    assert sorted(undone.tolist()) == sorted(levels.tolist())


def test_the_17_levels_are_spread_evenly_over_the_bytes() -> None:
    source = digits()
    images = source.batch(range(len(source)))[0]
    assert (images.dtype, images.shape[1:]) == (torch.uint8, (1, 8, 8))
    # 255 / 16 is 15.94: the steps are 16, but one.
    expected = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    assert images.unique().tolist() == expected


def test_every_class_gives_a_fifth_to_the_test_split() -> None:
    train, test = (torch.bincount(digits(split=s).labels, minlength=10) for s in ("train", "test"))
    assert torch.equal(test, (train + test) // 5)


def test_labels_belong_to_their_images() -> None:
    whole = datasets.load_digits()
    known = {i.astype("uint8").tobytes(): int(y) for i, y in zip(*whole_arrays(whole), strict=True)}
    for split in ("train", "test"):
        source = digits(split=split)
        for i in range(0, len(source), 50):
            levels = (source.read(i).float() * 16 / 255).round().byte()
            assert known[levels.numpy().tobytes()] == int(source.labels[i])


def whole_arrays(whole: object) -> tuple[object, object]:
    return whole.images, whole.target  # type: ignore[attr-defined]
