"""Model files, released .pt files -> a model, or one line; none of their code runs."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from abuse.damage import Canary, as_text, damaged, edited, json_bytes, silent, tried
from abuse.refused import refusal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adm.models.convert.released import visible_settings
from adm.models.load import load_any
from adm.models.pickled import read_tensors
from adm.networks import shapes_of
from adm.training import model_file

KINDS = {"model": tiny.diffusion(), "guide": tiny.classifier(), "upsampler": tiny.upsampler()}
ADM = "adm"  # the entry of the metadata of safetensors that holds ours


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: tiny.model(folder / f"{name}.safetensors", recipe).read_bytes()
        for name, recipe in KINDS.items()
    }


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def joined(header: bytes, rest: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + rest


@st.composite
def safetensors(draw: st.DrawFn, content: bytes) -> bytes:
    """A damaged length, header, recipe or other metadata, or bytes anywhere."""
    header, rest = parts(content)
    how = draw(st.sampled_from(("length", "header", "metadata", "metadata", "bytes")))
    if how == "length":
        lengths = (0, 1, len(content), 2**31, 2**63, 2**64 - 1)
        return struct.pack("<Q", draw(st.sampled_from(lengths))) + content[8:]
    if how == "header":
        return joined(as_text(draw(edited(header))), rest)
    if how == "metadata":
        text = draw(json_bytes(json.loads(header["__metadata__"][ADM])))
        header["__metadata__"][ADM] = text.decode("utf-8", "replace")
        return joined(as_text(header), rest)
    return draw(damaged(content))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@tried
def test_damaged_model_files_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory,
    whole: dict[str, bytes],
    kind: str,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "m.safetensors"
    path.write_bytes(data.draw(safetensors(whole[kind])))
    refusal(lambda: load_any(path))
    assert not {*path.parent.iterdir()} - {path}


@pytest.mark.parametrize(
    "second",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]},
        {"dtype": "F32", "shape": [2], "data_offsets": [16, 8]},
        {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [8, 16]},
        {"dtype": "Q4", "shape": [2], "data_offsets": [8, 16]},
    ],
    ids=str,
)
def test_tensors_that_overlap_or_leave_gaps_are_refused(tmp_path: Path, second: dict) -> None:
    path, first = tmp_path / "m.safetensors", {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = {"__metadata__": {ADM: "{}"}, "a": first, "b": second}
    path.write_bytes(joined(as_text(header), bytes(16)))
    assert refusal(lambda: model_file.metadata_of(path)) is not None


def test_a_header_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((model_file.MOST_HEADER + 1).to_bytes(8, "little") + b"{}")
    assert f"over {model_file.MOST_HEADER}" in (refusal(lambda: load_any(path)) or "")


STATE = {
    "time_embed.0.weight": torch.ones(4, 4),
    "input_blocks.0.0.weight": torch.ones(4, 1, 3, 3),
    "count": torch.tensor(3),
}
ODD = (
    *(None, [torch.ones(2)], torch.ones(2), {"a": 1}, {1: torch.ones(2)}, {"a": Canary()}),
    *({"\x1b[31m\n" * 100: 1}, {"a": torch.ones(2, dtype=torch.complex64)}, Canary()),
    *({"a": torch.eye(3).to_sparse()}, {"a": torch.ones(2, device="meta")}, {"a": nn.Linear(2, 2)}),
    STATE | {f"input_blocks.{'9' * 5000}.0.out_layers.3.weight": torch.ones(3)},
)


def saved(value: Any, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


PICKLES = (pickle.dumps(Canary()), *(saved(odd, zipped) for odd in ODD for zipped in (True, False)))
WHOLE = [saved(STATE, zipped) for zipped in (True, False)]


def read(path: Path) -> str | None:
    return refusal(lambda: visible_settings(shapes_of(read_tensors(path))))


@pytest.mark.parametrize("content", PICKLES, ids=range(len(PICKLES)))
@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.safetensors"])
def test_no_pickle_is_executed(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(lambda: load_any(path)) is not None
    assert silent()


@given(content=st.sampled_from(WHOLE).flatmap(damaged))
@tried
def test_damaged_released_files_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "m.pt"
    path.write_bytes(content)
    read(path)


def test_a_compressed_record_is_not_unpacked(tmp_path: Path) -> None:
    path, source = tmp_path / "a.pt", zipfile.ZipFile(io.BytesIO(WHOLE[0]))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for info in source.infolist():
            data = bytes(10**7) if info.filename.endswith("data/0") else source.read(info)
            file.writestr(info.filename, data)
    assert "it is compressed" in (read(path) or "")
