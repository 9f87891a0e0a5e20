"""Model file -> what its header says, which is what the loaded model says, or ValueError."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import save_file

from adm.models.described import described
from adm.models.load import load_any, load_classifier, load_diffusion
from adm.models.paths import SHIPPED, resolve
from adm.models.trained import DiffusionModel
from adm.recipes.schema import to_json
from adm.training import header
from adm.training.checkpoint import load_model

RECIPE = {
    "kind": "diffusion",
    "name": "a",
    "data": {"size": [8, 8], "channels": 1},
    "process": {"steps": 20},
}


@pytest.mark.parametrize("kind", [*tiny.KINDS, "unlabelled", *SHIPPED.glob("*.safetensors")])
def test_the_header_says_what_the_model_is(tmp_path: Path, kind: str | Path) -> None:
    path = kind
    if isinstance(kind, str):
        make = tiny.KINDS.get(kind, lambda: tiny.diffusion("unet.classes=null"))
        path = tiny.model(tmp_path / "m.safetensors", make())
    said, model = described(Path(path)), load_any(path)
    assert said is not None
    recipe = model.recipe
    assert (said.kind, said.name, said.classes) == (recipe.kind, recipe.name, model.classes)
    assert said.steps == (0 if recipe.kind == "gan" else recipe.process.steps)
    assert (said.size, said.channels) == (recipe.data.size, recipe.data.channels)
    if isinstance(model, DiffusionModel):
        grid = model.recipe.sample.grid
        assert (said.shape, said.low_shape) == (model.shape, model.low_shape)
        assert said.labelled == (model.network.config.classes is not None)
        assert said.guided == bool(model.recipe.sample.guidance)
        assert said.grid == {"steps": grid.steps, "start": grid.start}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has no header of safetensors"),
        (b"\x05\x00\x00", "it has no header of safetensors"),
        (b"\xff" * 8 + b"{}", "it has no header of safetensors"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "it has no header of safetensors"),
        ((3).to_bytes(8, "little") + b"{}", "it has no header of safetensors"),
        ((2).to_bytes(8, "little") + b"{]", "its header is not JSON"),
        ((2).to_bytes(8, "little") + b"\xff\xfe", "its header is not JSON"),
        ((2).to_bytes(8, "little") + b"[]", "its header holds no metadata"),
        ((2000).to_bytes(8, "little") + b"[" * 1000 + b"]" * 1000, "nested deeper"),
        ((7).to_bytes(8, "little") + b'{"a":1}', "its header describes no tensors"),
        ((20).to_bytes(8, "little") + b'{"__metadata__":[1]}', "its header holds no metadata"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    for read in (described, load_model):
        with pytest.raises(ValueError, match=reason) as raised:
            read(path)
        assert f"{path} is not a model file, or it is damaged (" in str(raised.value)
        assert "copy it again, or give a file that `adm train` wrote" in str(raised.value)


def test_a_huge_header_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((64).to_bytes(8, "little") + b" " * 64)
    monkeypatch.setattr(header, "MOST_BYTES", 63)
    with pytest.raises(ValueError, match="it has no header of safetensors"):
        described(path)


def test_a_file_that_lacks_the_end_of_its_weights_is_refused(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "m.safetensors", tiny.diffusion())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=rf"has {len(whole) - 1} .* its header says {len(whole)}"):
        described(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"recipe": None},
        {"recipe": RECIPE | {"kind": "vae"}},
        {"recipe": {key: value for key, value in RECIPE.items() if key != "process"}},
        {"recipe": RECIPE | {"process": {"steps": 0}}},
        {"recipe": RECIPE | {"process": {"steps": True}}},
        {"recipe": RECIPE | {"data": {"size": [8], "channels": 1}}},
        {"recipe": RECIPE | {"data": {"size": [8, 8], "channels": "one"}}},
        {"recipe": RECIPE | {"name": 3}},
        {"recipe": RECIPE | {"sample": {"grid": {"steps": -1}}}},
        {"recipe": RECIPE | {"sample": []}},
        {"classes": "sneaker"},
        {"classes": [1, 2]},
    ],
    ids=str,
)
def test_damaged_metadata_are_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = tmp_path / "m.safetensors"
    metadata = {"recipe": RECIPE, "classes": ["a"]}
    save_file({"w": torch.zeros(2)}, path, {"adm": json.dumps(metadata)})
    assert described(path) is not None
    save_file({"w": torch.zeros(2)}, path, {"adm": json.dumps(metadata | changed)})
    with pytest.raises(ValueError, match="damaged recipe or damaged classes"):
        described(path)


def test_files_of_others_are_refused_and_released_ones_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.zeros(2)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match="contains no recipe"):
        described(path)
    assert described(tmp_path / "none.pt") is None


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run folders: a diffusion model and its classifier, with names that are near each other."""
    monkeypatch.chdir(tmp_path)
    for name, recipe in (("small", tiny.diffusion()), ("smal-c", tiny.classifier())):
        folder = tmp_path / "runs" / name / "checkpoints" / "step-0000001"
        folder.mkdir(parents=True)
        tiny.model(folder / "model.safetensors", recipe)
        (folder / "state.json").write_text("{}")
    (tmp_path / "runs" / "smalls").mkdir()  # not a run
    return tmp_path / "runs"


def test_a_path_that_does_not_exist_names_near_models_of_its_kind(runs: Path) -> None:
    for model in ("runs/smal", Path("runs/smal")):
        with pytest.raises(ValueError, match=r"^runs/smal does not exist; ") as raised:
            load_diffusion(model)
        assert str(raised.value).endswith(
            "did you mean runs/small? give the path of a diffusion model, or one of emoji, "
            "emoji-upsampler, fashion, fashion-fast, fashion-unlabelled"
        )
    with pytest.raises(ValueError, match=r"^runs/smal does not exist; ") as raised:
        load_classifier("runs/smal")
    assert str(raised.value).endswith(
        "did you mean runs/smal-c? give the path of a classifier, or one of emoji-classifier, "
        "emoji-judge, fashion-classifier, fashion-judge, fashion-unlabelled-classifier"
    )
    with pytest.raises(ValueError, match=r"runs/small or runs/smal-c\? give the path of a model"):
        resolve("runs/smal")


def test_a_folder_of_data_hides_no_shipped_model(runs: Path) -> None:
    (runs.parent / "fashion" / "train" / "bags").mkdir(parents=True)
    assert resolve("fashion") == SHIPPED / "fashion.safetensors"
    with pytest.raises(ValueError, match=r"fashion holds no checkpoint yet"):
        resolve(runs.parent / "fashion")
    (runs.parent / "fashion" / "run.json").write_text("{}")  # of a run that has only begun
    with pytest.raises(ValueError, match=r"^fashion holds no checkpoint yet"):
        resolve("fashion")
    (runs.parent / "fashion" / "run.json").unlink()
    (runs / "small" / "checkpoints").rename(runs.parent / "fashion" / "checkpoints")
    assert resolve("fashion") == Path("fashion/checkpoints/step-0000001/model.safetensors")


def test_a_suffix_makes_a_path_and_other_words_are_names(runs: Path) -> None:
    with pytest.raises(ValueError, match=r"^smal\.pt does not exist; give the path of a"):
        load_diffusion("smal.pt")
    with pytest.raises(
        ValueError, match=r"^no model 'fashin'; give a path of a .*, or fashion or fashion-fast$"
    ):
        load_diffusion("fashin")
    with pytest.raises(ValueError, match=r"^no model 'fashion-'; .*, or fashion-judge or fashion-"):
        load_classifier("fashion-")


def test_models_are_found_and_described_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from adm.models.described import described\n"
        "from adm.models.paths import resolve\n"
        "print(described(resolve('fashion', 'diffusion')).name)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "fashion\n"


def test_guidance_of_the_recipe_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    recipe = to_json(tiny.diffusion())
    recipe["sample"]["guidance"] = [{"scale": 1.5}]
    save_file(
        {"w": torch.zeros(2)}, path, {"adm": json.dumps({"recipe": recipe, "classes": ["a"] * 3})}
    )
    said = described(path)
    assert said is not None
    assert said.guided
