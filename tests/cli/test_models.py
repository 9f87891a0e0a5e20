"""adm models, adm convert -> the list of named models, and the same model in another format."""

import json
import re
from pathlib import Path

import pytest
import torch
from answers import Adm
from safetensors.torch import load_file, save_file

from adm.models.paths import SHIPPED
from adm.recipes.released import RELEASED, public_name


def test_all_models_that_have_a_name_are_listed_with_where_they_are(adm: Adm) -> None:
    listed = {each["name"]: each for each in json.loads(adm("models", "--json").out)}
    shipped = {path.stem for path in SHIPPED.glob("*.safetensors")}
    assert listed.keys() == shipped | {public_name(file) for file in RELEASED}
    assert next(iter(listed)) == "emoji"  # what is guided is first, and what guides is last
    assert Path(listed["fashion"]["path"]).is_file()
    known = listed["openai/256x256-diffusion-uncond"]
    assert known["bytes"] == 2_211_383_297
    assert known["page"] == "https://github.com/openai/guided-diffusion"
    assert "guided by openai/256x256-classifier at scale 10" in known["use"]


def test_a_model_is_written_again_with_its_weights_and_recipe(adm: Adm, tmp_path: Path) -> None:
    out = tmp_path / "copy.safetensors"
    adm.done("convert", "fashion", "--out", out)
    ours, copy = load_file(SHIPPED / "fashion.safetensors"), load_file(out)
    assert all(torch.equal(copy[name], weights.float()) for name, weights in ours.items())
    both = [json.loads(adm("info", each, "--json").out) for each in ("fashion", out)]
    assert both[0]["recipe"] == both[1]["recipe"]
    assert both[0]["classes"] == both[1]["classes"]


REFUSED = {
    "what to write": (("fashion", "--out", "x.onnx"), r"--out ends in .onnx, which is no format"),
    "a student": (("fashion-fast", "--to", "diffusers", "--out", "x.d"), r"is a student"),
    "flags of ours": (
        ("fashion", "--out", "x.safetensors", "--flags=--num_heads 4"),
        r"says what it is; leave --flags out",
    ),
    "no such network": (
        ("fashion", "--out", "x.pt"),
        r"unet.norm_groups=32, and this one has 8; .*--set",
    ),
    "a pickle": (("edm.pkl", "--out", "x.safetensors"), r"would run when it is loaded.*adm models"),
}


def test_a_classifier_that_does_not_come_back_from_diffusers_is_named(
    adm: Adm, tmp_path: Path
) -> None:
    there, back = tmp_path / "there", tmp_path / "back.safetensors"
    adm.done("convert", "fashion", "--to", "diffusers", "--out", there)
    assert f"{there / 'classifier'} is left out" in adm.done("convert", there, "--out", back).err
    file = there / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["spare"] = weights.pop("conv_out.bias")
    save_file(weights, file)
    refused = adm("convert", there, "--out", back).refusal()
    assert "the weights differ: conv_out.bias missing; spare unexpected" in refused


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_converted_says_why_and_leaves_nothing(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1)}, "mine.pt")
    Path("edm.pkl").write_bytes(b"\x80\x04cos\nsystem\n")
    words, why = REFUSED[kind]
    answer = adm("convert", *words)
    assert re.search(why, answer.refusal()), answer.refusal()
    assert not list(tmp_path.glob("x.*"))
