"""ADM_GOLDENS -> cases: finds reference vectors by the structure of their folder, and compares.

Nothing here or in the tests names a case: whatever entries the folder's JSON files list, and
whatever files lie where its README puts them, are run. Another folder of the same structure, or
one with only some parts, can be put in its place.
"""

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

VARIABLE = "ADM_GOLDENS"
FOLDER = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
HOW = f"set {VARIABLE} to a folder of reference vectors to run this"


def each_file(*patterns: str) -> pytest.MarkDecorator:
    """Run a test with `path` at every file that matches, in order, `index.json` left out."""
    paths = [path for p in patterns if FOLDER is not None for path in sorted(FOLDER.glob(p))]
    cases = [pytest.param(path, id=path.stem) for path in paths if path.name != "index.json"]
    return pytest.mark.parametrize("path", cases or [absent(" or ".join(patterns))])


def each_entry(path: str, needs: str | None = None) -> pytest.MarkDecorator:
    """Run a test with `case` at every entry of a JSON list; only those with the key `needs`."""
    listed = entries(path)
    cases = [
        pytest.param(entry, id=entry_id(entry, i))
        for i, entry in enumerate(listed)
        if needs is None or needs in entry
    ]
    return pytest.mark.parametrize("case", cases or [absent(path)])


def entry_id(entry: Mapping[str, Any], index: int) -> str:
    if "id" in entry or "name" in entry:
        return str(entry.get("id", entry.get("name")))
    if "schedule" in entry:
        return f"{entry['schedule']}_{entry.get('num_timesteps', index)}"
    return str(index)


def entries(path: str) -> list[dict[str, Any]]:
    """A JSON list, or nothing where the file is absent."""
    if FOLDER is None or not (FOLDER / path).is_file():
        return []
    return json.loads((FOLDER / path).read_text())


def absent(part: str) -> Any:
    why = HOW if FOLDER is None else f"{FOLDER} has no {part}; {HOW}"
    return pytest.param(None, id="absent", marks=pytest.mark.skip(reason=why))


def located(path: str) -> Path:
    """The file, or skip."""
    if FOLDER is None or not (FOLDER / path).is_file():
        pytest.skip(HOW if FOLDER is None else f"{FOLDER} has no {path}; {HOW}")
    return FOLDER / path


@lru_cache(maxsize=8)
def _npz(path: Path) -> Mapping[str, np.ndarray]:
    return np.load(path, allow_pickle=False)


class Arrays:
    """The arrays of one case in an npz file, as torch tensors."""

    def __init__(self, path: str, prefix: str = "") -> None:
        self.file = _npz(located(path))
        self.prefix = f"{prefix}." if prefix else ""

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.file

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            pytest.skip(f"these reference vectors have no array {self.prefix}{name}")
        return torch.from_numpy(np.asarray(self.file[self.prefix + name]))

    @property
    def names(self) -> list[str]:
        """Of every array of the case."""
        n = len(self.prefix)
        return [name[n:] for name in self.file if name.startswith(self.prefix)]


def tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file, or skip."""
    if not path.is_file():
        pytest.skip(f"these reference vectors have no {path.name}")
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def assert_scaled(got: Tensor, want: Tensor, limit: float, what: str = "") -> None:
    """max |got - want| / max |want| of every row is within the limit.

    Rows are along the first axis: one sample, or one step. What is not finite must be the same.
    """
    got, want = torch.broadcast_tensors(got.double(), want.double())
    assert got.shape[0] == len(want)
    for row, (g, w) in enumerate(zip(got, want, strict=True)):
        finite = w.isfinite()
        assert torch.equal(g[~finite].nan_to_num(0.5), w[~finite].nan_to_num(0.5)), (what, row)
        error, size = (g - w)[finite].abs(), w[finite].abs()
        if not error.numel():
            continue
        scaled = error.max() / size.max() if size.max() > 0 else error.max()
        assert scaled <= limit, f"{what}[{row}]: scaled error {scaled:.3g}, accepted {limit:g}"


def assert_close(got: Tensor, want: Tensor, relative: float, absolute: float = 0.0) -> None:
    """Elementwise |got - want| <= absolute + relative |want|, in float64."""
    torch.testing.assert_close(
        got.double(), want.double(), rtol=relative, atol=absolute, equal_nan=True
    )


def assert_within(got: Tensor, want: Tensor, limit: float, what: str) -> None:
    """max |got - want| is within the limit."""
    assert got.shape == want.shape
    error = (got.double() - want.double()).abs().max()
    assert error <= limit, f"{what}: differs by {error:.3g}, accepted {limit:g}"
