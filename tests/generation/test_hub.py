"""Models on the Hugging Face hub: there and back bit for bit, and nothing but tensors is loaded."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hubs import Hub, commit_of, files_of, serving

import adm
from adm.generation.pretrained import Pretrained
from adm.metrics import Score
from adm.models import hub
from adm.models.convert.released import export_state
from adm.models.description import facts
from adm.models.hub import CLASSIFIER, CONFIG, MODEL, PICTURE, WEAK, Repository
from adm.models.identity import identify
from adm.models.load import read
from adm.models.paths import SHIPPED, resolve
from adm.networks import HeadWidth, on_meta
from adm.recipes.released import RELEASED
from adm.scoring.report import Report
from adm.spec import SettingError
from adm.training.model_file import entries_of

NAME, SPEC = "someone/tiny", "hf:someone/tiny"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "cache", monkeypatch) as hub_server:
        yield hub_server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guided model as `save_pretrained` writes it, with scale 2 by default."""
    place = tmp_path_factory.mktemp("models")
    tiny.model(place / "m.safetensors", tiny.diffusion("sample.guide=classifier:scale=2"))
    tiny.model(place / "c.safetensors", tiny.classifier(), seed=1)
    pipeline = adm.load(place / "m.safetensors", classifier=place / "c.safetensors")
    return pipeline.save_pretrained(place / "saved", images=3)


def images(pipeline: adm.Pipeline) -> torch.Tensor:
    return pipeline.sample(count=3).images


def test_a_folder_holds_what_the_hub_shows(folder: Path) -> None:
    assert set(files_of(folder)) == {MODEL, CLASSIFIER, CONFIG, PICTURE, "README.md"}
    assert json.loads((folder / CONFIG).read_text()) == entries_of(folder / MODEL)


@pytest.mark.parametrize("kind", ["guided", "alone", "student"])
def test_saved_and_loaded_it_is_the_same_model(tmp_path: Path, kind: str) -> None:
    guide = weak = None
    recipe = tiny.student() if kind == "student" else tiny.diffusion()
    file = tiny.model(tmp_path / "m.safetensors", recipe)
    if kind == "guided":
        guide = tiny.model(tmp_path / "c.safetensors", tiny.classifier(), seed=1)
        weak = tiny.model(tmp_path / "w.safetensors", tiny.diffusion(), seed=2)
    pipeline = adm.load(file, classifier=guide, weak=weak)
    saved = pipeline.save_pretrained(tmp_path / "saved", images=0)
    again = adm.Pipeline.from_pretrained(saved)
    assert (saved / MODEL).read_bytes() == file.read_bytes()
    assert (again.classifier is None) == (again.weak is None) == (guide is None)
    if guide is not None and weak is not None:
        assert (saved / CLASSIFIER).read_bytes() == guide.read_bytes()
        assert (saved / WEAK).read_bytes() == weak.read_bytes()
        both = {"guide": ["classifier:scale=3", "weak:scale=2"], "count": 3}
        assert torch.equal(again.sample(**both).images, pipeline.sample(**both).images)
    assert torch.equal(images(again), images(pipeline))
    assert again.sampling == pipeline.sampling


def test_settings_of_its_own_are_stored_and_nothing_else_changes(
    folder: Path, tmp_path: Path
) -> None:
    pipeline = adm.load(folder)
    changed = pipeline.sampling.change(scale=3.0, steps=3, seed=8)
    saved = Pretrained(pipeline.model, changed, pipeline.classifier).save(tmp_path / "saved")
    again = adm.load(saved)
    assert again.sampling == changed
    assert identify(again.model.path) == identify(folder / MODEL)
    expected = pipeline.sample(count=3, scale=3.0, steps=3, seed=8).images
    assert torch.equal(images(again), expected)


def test_a_released_file_is_stored_with_its_classifier_and_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {"channels": 32, "multipliers": (1, 2), "attention_factors": (2,), "depth": 1}
    known = {"64x64_diffusion.pt": {"classes": 3}, "64x64_classifier.pt": {"size": (8, 8)}}
    for file, more in known.items():
        config = replace(
            RELEASED[file].config, heads=HeadWidth(16), **(common | more | {"classes": 3})
        )
        monkeypatch.setitem(RELEASED, file, replace(RELEASED[file], config=config, size=8))
        state = on_meta(config).state_dict()
        weights = {name: torch.randn(tensor.shape) * 0.1 for name, tensor in state.items()}
        torch.save(export_state(weights, config, file == "64x64_classifier.pt"), tmp_path / file)
    pipeline = adm.load(tmp_path / "64x64_diffusion.pt", device="cpu")
    saved = pipeline.save_pretrained(tmp_path / "saved", images=0)
    again = adm.load(saved, device="cpu")
    settings = {"count": 2, "steps": 3, "precision": "float32"}
    assert torch.equal(again.sample(**settings).images, pipeline.sample(**settings).images)
    assert again.sampling == pipeline.sampling
    assert again.sampling.scale == 1.0
    card = (saved / "README.md").read_text()
    assert "license: mit\n" in card
    assert "datasets:\n- ILSVRC/imagenet-1k\n" in card
    assert "[guided-diffusion](https://github.com/openai/guided-diffusion)" in card
    assert "For research on generative models" in card


def test_what_is_not_stored_is_refused(tmp_path: Path) -> None:
    file = tiny.model(tmp_path / "m.safetensors", tiny.diffusion())
    larger = tiny.model(tmp_path / "u.safetensors", tiny.upsampler())
    with pytest.raises(SettingError, match="a model is stored without upsampler"):
        adm.load(file, upsampler=larger).save_pretrained(tmp_path / "saved")
    guide = tiny.model(tmp_path / "c.safetensors", tiny.classifier())
    with pytest.raises(SettingError, match="a model is stored with one classifier"):
        adm.load(file, classifier=[guide, guide]).save_pretrained(tmp_path / "saved")


def test_a_model_is_loaded_from_the_hub(server: Hub, folder: Path) -> None:
    server.has(NAME, files_of(folder) | {"modeling.py": b"import this", "pytorch_model.bin": b"x"})
    pipeline = adm.load(SPEC)
    assert pipeline.model.name == NAME
    assert torch.equal(images(pipeline), images(adm.load(folder)))
    assert pipeline.sampling.scale == 2.0
    assert server.fetched == {MODEL, CLASSIFIER, CONFIG}
    assert not list(Path(pipeline.model.path).parents[2].rglob("*.py"))
    again = adm.Pipeline.from_pretrained(NAME)
    assert again.model.path == pipeline.model.path
    assert adm.load_classifier(resolve(SPEC).with_name(CLASSIFIER)).classes == tiny.CLASSES


def test_a_revision_is_that_of_its_name(server: Hub, folder: Path, tmp_path: Path) -> None:
    other = tiny.model(tmp_path / "o.safetensors", tiny.diffusion(), seed=5)
    server.has(NAME, files_of(folder))
    server.has(NAME, {MODEL: other.read_bytes()}, "old/one")
    old = adm.load(f"{SPEC}@old/one")
    assert old.model.path.read_bytes() == other.read_bytes()
    assert old.classifier is None
    by_commit = adm.Pipeline.from_pretrained(NAME, revision=commit_of(files_of(folder)))
    assert by_commit.model.path.read_bytes() == (folder / MODEL).read_bytes()
    with pytest.raises(ValueError, match=r"tiny@none has no such revision; give one"):
        adm.load(f"{SPEC}@none")


def test_after_the_first_load_no_network_is_needed(
    server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    server.has(NAME, files_of(folder))
    first = images(adm.load(SPEC))
    before = len(server.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(images(adm.load(SPEC)), first)
    with pytest.raises(ValueError, match="other is out of reach, and not in the cache"):
        adm.load("hf:someone/other")
    assert len(server.requests) == before
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    assert torch.equal(images(adm.load(SPEC)), first)
    with pytest.raises(ValueError, match="other is out of reach, and not in the cache"):
        adm.load("hf:someone/other")


@pytest.mark.parametrize(
    ("files", "gated", "expected"),
    [
        (
            {"unet/diffusion_pytorch_model.bin": b"x", "modeling.py": b"import this"},
            False,
            r"has no model.safetensors, and nothing of it was loaded",
        ),
        ({}, False, r"has no model.safetensors, and nothing of it was loaded"),
        (
            {MODEL: b"x"},
            True,
            r"open only to those who accept its terms; do so on its page, http://127",
        ),
        (None, False, r"does not exist, or is private; look for its page"),
        ({MODEL: b"x"}, False, r"model.safetensors is not a model file, or it is damaged"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(
    server: Hub, files: dict[str, bytes] | None, gated: bool, expected: str
) -> None:
    if files is not None:
        server.has(NAME, files)
    server.gated |= {NAME} if gated else set()
    with pytest.raises(ValueError, match=expected) as raised:
        adm.load(SPEC)
    assert "\n" not in str(raised.value)
    assert server.fetched <= {MODEL, CLASSIFIER, WEAK, CONFIG}


def test_another_model_than_ours_is_refused(server: Hub, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save

    server.has(NAME, {MODEL: save({"weight": torch.zeros(2)}), CONFIG: b'{"auto_map": {}}'})
    with pytest.raises(ValueError, match="contains no recipe"):
        adm.load(SPEC)
    server.has(NAME, files_of(folder) | {CLASSIFIER: (folder / MODEL).read_bytes()})
    with pytest.raises(ValueError, match="is a diffusion model; give a classifier"):
        adm.load(SPEC).sample(count=1)


@pytest.mark.parametrize(
    "content", [b"", b"\xff{", b'{"auto_map": {"AutoModel": "modeling.Evil"}}']
)
def test_nothing_in_a_config_has_an_effect(folder: Path, content: bytes) -> None:
    config, modules = folder / CONFIG, set(sys.modules)
    original = config.read_bytes()
    config.write_bytes(content)
    try:
        again = adm.Pipeline.from_pretrained(folder)
    finally:
        config.write_bytes(original)
    assert again.model.path == folder / MODEL
    assert again.sampling == adm.load(folder / MODEL, classifier=folder / CLASSIFIER).sampling
    assert set(sys.modules) == modules


@pytest.mark.parametrize(
    "spec",
    [
        *("hf:", "hf:tiny", "hf:a/b/c", "hf:../etc/passwd", "hf:a/b..c", "hf:a/b@v/../../../x"),
        *("hf:a/b@", "hf:a/b@c d", "hf:a--b/c", "hf:a/b\n", f"hf:a/{'b' * 97}", "hf:ä/b"),
    ],
)
def test_a_name_of_another_form_is_refused(spec: str) -> None:
    with pytest.raises(SettingError, match="of the form hf:owner/name"):
        resolve(spec)


def test_a_model_is_pushed_as_one_commit(
    server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    commits = list[tuple[dict[str, bytes], dict[str, Any]]]()

    def upload(self: Any, *, folder_path: Path, **options: Any) -> str:
        commits.append((files_of(Path(folder_path)), options))
        return f"{server.address}/commit"

    monkeypatch.setattr(HfApi, "upload_folder", upload)
    address = adm.load(folder).push_to_hub(NAME, images=3, token="hf_x")
    ((files, options),) = commits
    assert address == f"{server.address}/commit"
    assert server.created[0]["name"] == "tiny"
    assert server.created[0].get("private") or server.created[0].get("visibility") == "private"
    assert options["repo_id"] == NAME
    assert options["delete_patterns"] == [CLASSIFIER, WEAK, PICTURE]
    saved = files_of(folder)
    assert {name: content for name, content in files.items() if name != "README.md"} == {
        name: content for name, content in saved.items() if name != "README.md"
    }
    assert f'adm.load("{SPEC}")' in files["README.md"].decode()
    server.has(NAME, files)
    assert torch.equal(images(adm.load(SPEC)), images(adm.load(folder)))


def test_a_refused_push_is_one_line(server: Hub, folder: Path) -> None:
    server.gated.add(NAME)
    expected = r"hf:someone/tiny did not get through \(.*403.*\); run the command again, or log in"
    with pytest.raises(ValueError, match=expected) as raised:
        adm.load(folder).push_to_hub(NAME, images=0, token="hf_x")
    assert "\n" not in str(raised.value)


def test_the_card_says_what_the_hub_reads_and_what_was_measured(folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    report = Report(
        "pixels",
        {"frechet": Score(12.3456, 11.0, 13.0), "precision": Score(0.5)},
        {"generated": {"source": "```\n</details>"}},
    )
    card = adm.load(folder).pretrained(images=2, report=report).card("there")
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    stated = yaml.safe_load(front)
    assert stated["pipeline_tag"] == "unconditional-image-generation"
    assert (stated["license"], stated["library_name"]) == ("unknown", "adm")
    assert "*2 samples, unselected, seed 0" in text
    assert "| 12.3 | 11.0 to 13.0 |" in text
    assert "| by pixels | value | 95% interval |" in text
    assert "| precision | 0.5000 |  |" in text
    assert text.count("\n```\n") == 2  # the ends of its own two blocks
    recipe = read(folder / MODEL)[2]
    assert recipe.name in text


def test_names_in_a_model_file_are_no_markup(tmp_path: Path) -> None:
    names = ("a|b", "<script>", "[x](http://y)\n# title")
    file = tiny.model(tmp_path / "m.safetensors", tiny.diffusion(), names)
    card = adm.load(file).pretrained(images=0).card("there")
    assert r"a\|b, \<script\>, \[x\](http://y)\\n# title" in card


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED.glob("*.safetensors")])
def test_every_shipped_model_has_a_card_of_this_model(name: str) -> None:
    docs = Path(__file__).parents[2] / "docs" / "models"
    card = (docs / f"{name}.md").read_text(encoding="utf-8")
    assert identify(SHIPPED / f"{name}.safetensors") in card, "run `make cards`"
    assert "license: mit" in card
    for picture in re.findall(r"!\[\w+\]\((.*)\)", card):
        assert (docs / picture).stat().st_size < 60_000
    _, _, recipe, metadata = read(name)
    shown = facts(recipe, metadata)
    assert shown["trained"] in card
    assert shown.get("starting from", "") in card


def test_without_the_extra_the_cure_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"hf:a/b needs huggingface_hub.*; pip install"):
        hub.snapshot(Repository("a/b"))
    with pytest.raises(ValueError, match=r"hf:a/b needs huggingface_hub"):
        adm.load(folder).push_to_hub("a/b", images=1000)  # before any is sampled
