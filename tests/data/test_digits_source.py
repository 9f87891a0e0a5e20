"""scikit-learn's digits: all of them, spread over 0..255, split by index within the class."""

import numpy as np
import pytest
import torch

from adm.data.digits import digits

datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")


def test_the_splits_are_the_whole_set_once_with_its_labels() -> None:
    parts = [digits(), digits(split="test")]
    images = torch.cat([source.batch(range(len(source)))[0] for source in parts])
    levels = (images.reshape(-1, 64).float() * 16 / 255).round().long()
    actual = torch.cat([levels, torch.cat([source.labels for source in parts])[:, None]], 1)
    whole = datasets.load_digits()
    expected = np.concatenate([whole.data, whole.target[:, None]], 1).astype(int)
    assert sorted(actual.tolist()) == sorted(expected.tolist())


def test_every_class_gives_a_fifth_to_the_test_split() -> None:
    train, test = (torch.bincount(digits(split=s).labels, minlength=10) for s in ("train", "test"))
    assert torch.equal(test, (train + test) // 5)
