"""Untrusted files of torch.save -> tensors by name, or one line; none of their code runs."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from mutations import refusal
from torch import nn

from adm.models.convert.released import visible_settings
from adm.models.pickled import read_tensors
from adm.networks import shapes_of

STATE = {
    "time_embed.0.weight": torch.ones(4, 4),
    "input_blocks.0.0.weight": torch.ones(4, 1, 3, 3),
    "count": torch.tensor(3),
}


def saved(value: Any, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def read(path: Path) -> bool:
    return refusal(lambda: visible_settings(shapes_of(read_tensors(path)))) is None


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        None,
        [torch.ones(2)],
        torch.ones(2),
        {"a": 1},
        {1: torch.ones(2)},
        {"\x1b[31m\n" * 100: 1},
        {"a": torch.ones(2, dtype=torch.complex64)},
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.ones(2, device="meta")},
        {"a": nn.Linear(2, 2)},
        {"time_embed.0.weight": torch.tensor(1.0), "input_blocks.0.0.weight": torch.tensor(1.0)},
        STATE | {"out.2.bias": torch.tensor(1.0), "label_emb.weight": torch.tensor(1.0)},
        STATE | {f"input_blocks.{'9' * 5000}.0.out_layers.3.weight": torch.ones(3)},
        {"\x1b[31m\n" * 100: torch.ones(2)},
    ],
)
def test_only_flat_dictionaries_of_dense_tensors_are_read(
    tmp_path: Path, value: Any, zipped: bool
) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved(value, zipped))
    readable = isinstance(value, dict) and "time_embed.0.weight" in value
    assert read(path) == readable


def test_a_compressed_record_is_not_unpacked(tmp_path: Path) -> None:
    path, source = tmp_path / "a.pt", zipfile.ZipFile(io.BytesIO(saved(STATE, True)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for info in source.infolist():
            data = bytes(10**7) if info.filename.endswith("data/0") else source.read(info)
            file.writestr(info.filename, data)
    with pytest.raises(ValueError, match=r"damaged or not a \.pt file \(it is compressed\)"):
        read_tensors(path)


def test_batch_statistics_and_parameters_are_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({**nn.BatchNorm2d(2).state_dict(), "p": nn.Parameter(torch.ones(2))}, path)
    assert read_tensors(path).keys() >= {"num_batches_tracked", "p"}
