"""Orders of the page -> the images, bytes and words of the library."""

import base64
import io
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from studio.conftest import (
    QUICK,
    Studio,
    events,
    images,
    named,
    only,
    opened,
    sent,
)

from adm.app.cli import main
from adm.app.studio import orders
from adm.app.studio.forms import control, forms
from adm.app.studio.model_cache import ModelCache
from adm.data.pixels import to_picture, to_tensor
from adm.images import to_uint8
from adm.restoration.operators import Inpaint
from adm.samplers import DDIM, SAMPLERS
from adm.samplers.settings import Rounding
from adm.spec import SettingError
from adm.store.samples import SHEET

TWO = {"sneaker": 3, "bag": 2}


def test_samples_are_those_of_the_library_and_of_their_own_png(studio: Studio) -> None:
    received = studio.ask(**studio.sample(classes=TWO))
    expected = studio.pipeline.sample(TWO, **QUICK)
    assert torch.equal(images(received), expected.images)
    assert only(received, "begin")["labels"] == ["sneaker"] * 3 + ["bag"] * 2
    last = named(received, "image")[-1]
    order = only(studio.ask(kind="drop", picture=_sent(last["png"])), "dropped")["order"]
    assert order == {**studio.sample(classes={"bag": 1}, only=4), "count": None}
    (again,) = named(list(events(studio.post(order))), "image")
    assert again["png"] == last["png"]


def test_every_step_shows_the_guided_estimate_of_the_images(studio: Studio) -> None:
    received = studio.ask(**studio.sample(classes=TWO))
    steps = named(received, "step")
    job = studio.pipeline.job(TWO, **QUICK)
    block = range(job.generator.block)
    labels = torch.tensor([job.labels[i] if i < 5 else job.labels[0] for i in block])
    indices = [i if i < 5 else 0 for i in block]
    for step, state in zip(steps, job.generator.trajectory(labels, indices), strict=True):
        strip = opened(step["strip"])
        shown = torch.stack([strip[:, :, 8 * i : 8 * i + 8] for i in range(5)])
        assert step["places"] == [*range(5)]
        assert torch.equal(shown, to_uint8(state.prediction.x_0[:5]))
    assert [(step["step"], step["steps"]) for step in steps] == [(i, 4) for i in range(1, 5)]


def test_the_command_and_the_lines_make_the_image(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**QUICK, "sampler": "ddim:eta=0.5", "seed": 5, "then": ["at:level=9,classes=bag"]}
    image = named(studio.ask(**studio.sample(classes=TWO, settings=settings)), "image")[2]
    expected = opened(image["png"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(shlex.split(image["command"])[1:])
    assert end.value.code == 0
    written = sorted(path for path in Path("out/studio").glob("*.png") if path.name != SHEET)[-1]
    assert torch.equal(expected, opened(base64.b64encode(written.read_bytes()).decode()))
    scope: dict[str, Any] = {}
    exec(image["python"], scope)
    assert torch.equal(expected, scope["image"])


def test_images_of_several_blocks_are_those_of_the_library() -> None:
    """Fashion has 16 images in a block."""
    models, received = ModelCache(device="cpu"), []
    order = orders.parse(
        b'{"kind": "sample", "model": "fashion-fast", "count": 17, "settings": {"steps": 2}}'
    )
    order.carry_out(models, lambda name, data: received.append((name, data)))
    expected = models.pipeline("fashion-fast").sample(count=17, steps=2)
    assert torch.equal(images(received), expected.images)
    assert [len(step["places"]) for step in named(received, "step")] == [16, 16, 1, 1]
    film = orders.Film(kind="film", of=order, index=16)  # the first of the second block
    film.carry_out(models, lambda name, data: received.append((name, data)))
    last = opened(only(received, "film")["estimates"])[..., -28:]
    assert torch.equal(last, expected.images[16])


def test_the_most_calls_of_an_order_are_of_the_network_whatever_guides_it(
    models: ModelCache, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "MOST_CALLS", 4)
    longer = {**QUICK, "steps": 5}
    few, more = (
        orders.parse(json.dumps(studio.sample(settings=each)).encode()) for each in (QUICK, longer)
    )
    assert few.checked(models)[1].cost.classifier == 4
    with pytest.raises(SettingError, match=r"at most 4 calls of the network, got 5"):
        more.checked(models)


def test_a_grid_has_the_images_of_its_settings(studio: Studio) -> None:
    received = studio.ask(
        kind="grid",
        of=studio.sample(settings={"precision": "float32", "steps": 4}),
        rows={"name": "scale", "values": [0, 3, "much"]},
        columns={"name": "class", "values": ["sneaker", "bag"]},
        index=2,
    )
    cells = {tuple(cell["place"]): cell for cell in named(received, "cell")}
    assert len(cells) == 6
    for row, scale in enumerate((0, 3)):
        for column, name in enumerate(("sneaker", "bag")):
            cell = cells[row, column]
            job = studio.pipeline.job(cell["class"], 3, **cell["settings"])
            assert (cell["settings"]["scale"], cell["class"]) == (scale, name)
            gap = opened(cell["png"]).int() - job.images([2])[0].int()
            assert gap.abs().max() <= 1  # another batch rounds differently
    assert "scale must be a number" in cells[2, 0]["error"]


def test_a_grid_of_steps_samples_each(studio: Studio) -> None:
    received = studio.ask(
        kind="grid",
        of=studio.sample(settings={"precision": "float32"}),
        rows={"name": "steps", "values": [2, 5]},
        columns={"name": "sampler", "values": ["ddim", "unipc"]},
        label="bag",
    )
    assert len(named(received, "cell")) == 4
    assert [step["steps"] for step in named(received, "step")] == [2] * 4 + [5] * 10


def test_the_way_of_an_image_begins_in_its_noise_and_ends_in_it(studio: Studio) -> None:
    order = studio.sample(classes=TWO)
    film = only(studio.ask(kind="film", of=order, index=3), "film")
    job = studio.pipeline.job(TWO, **QUICK)
    assert torch.equal(opened(film["noise"]), to_uint8(job.generator.x_start([3])[0]))
    frames = Image.open(io.BytesIO(base64.b64decode(film["film"])))
    assert frames.n_frames == 5
    frames.seek(4)
    side = frames.width // 8
    last = frames.convert("L").resize((8, 8), Image.Resampling.NEAREST)
    assert side > 20
    assert torch.equal(to_tensor(last), job.images([3])[0])
    visited = job.generator.sampling.grid.visited(job.generator.model.schedule)
    assert film["levels"] == [*reversed(visited[:-1]), 0]
    assert opened(film["estimates"]).shape == opened(film["noisy"]).shape == (1, 8, 32)


def test_a_picture_is_edited_as_by_the_library(studio: Studio, picture: Image.Image) -> None:
    dropped = only(studio.ask(kind="drop", picture=sent(picture)), "dropped")
    assert dropped["order"] is None
    fitted = opened(dropped["png"])
    assert fitted.shape == studio.pipeline.shape
    order = {"pictures": [sent(picture)], "edit": "noise:strength=0.6", "classes": "bag"}
    received = studio.ask(kind="edit", samples=2, settings=QUICK, **order)
    expected = studio.pipeline.edit(fitted[None], order["edit"], "bag", 2, **QUICK)
    assert torch.equal(images(received), expected.images)
    assert named(received, "image")[0]["command"].startswith(
        f"adm edit {studio.model} picture.png --edit noise:strength=0.6 --classes bag --samples 2"
    )


def test_a_painted_region_is_filled_as_by_the_library(studio: Studio, tmp_path: Path) -> None:
    image = tiny.stripes(1).batch([0])[0]
    mask = Image.new("L", (8, 8))
    mask.paste(255, (2, 3, 6, 7))
    order = {"picture": sent(to_picture(image[0])), "mask": sent(mask), "method": "ddnm"}
    received = studio.ask(kind="fill", samples=2, settings={"steps": 4}, **order)
    known = 255 - opened(sent_back(mask))
    assert torch.equal(opened(only(received, "mask")["png"]), known)
    path = tmp_path / "mask.png"
    to_picture(known).save(path)
    expected = studio.pipeline.restore(image, Inpaint(mask=str(path)), "ddnm", samples=2, steps=4)
    assert torch.equal(images(received), expected.images)
    empty = studio.ask(kind="fill", **{**order, "mask": sent(Image.new("L", (8, 8)))})
    assert "paint a part" in only(empty, "error")["message"]


FROM_PICTURES = {
    "edit": {"kind": "edit", "edit": "noise:strength=0.6", "classes": "bag", "samples": 2},
    "interpolate": {"kind": "edit", "edit": "interpolate:count=3,steps=4"},
    "fill": {"kind": "fill", "method": "ddnm", "samples": 2},
}


@pytest.mark.parametrize("name", FROM_PICTURES)
def test_the_command_the_lines_and_the_png_repeat_what_is_made_from_pictures(
    studio: Studio,
    picture: Image.Image,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"steps": 4, "sampler": "ddim", "precision": "float32"}
    fitted = only(studio.ask(kind="drop", picture=sent(picture)), "dropped")["png"]
    files = {"picture.png": fitted}
    inputs: dict[str, Any] = {"pictures": [sent(picture)]}
    if name == "interpolate":
        other = to_picture(tiny.stripes(1).batch([0])[0][0])
        files = {"pair/0.png": fitted, "pair/1.png": sent(other)}
        inputs["pictures"].append(sent(other))
    if name == "fill":
        mask = Image.new("L", (8, 8))
        mask.paste(255, (2, 3, 6, 7))
        inputs = {"picture": sent(picture), "mask": sent(mask)}
    received = studio.ask(settings=settings, **FROM_PICTURES[name], **inputs)
    if name == "fill":
        files["mask.png"] = only(received, "mask")["png"]
    image = next(image for image in named(received, "image") if image["index"] == 1)
    monkeypatch.chdir(tmp_path)
    for path, content in files.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(base64.urlsafe_b64decode(_sent(content)))

    with pytest.raises(SystemExit) as end:
        main(shlex.split(image["command"])[1:])
    assert end.value.code == 0
    with np.load("out/studio/samples.npz", allow_pickle=False) as written:
        by_command = torch.from_numpy(written["arr_0"][1]).permute(2, 0, 1)
    assert torch.equal(opened(image["png"]), by_command)
    scope: dict[str, Any] = {}
    exec(image["python"], scope)
    assert torch.equal(opened(image["png"]), scope["image"])

    order = only(studio.ask(kind="drop", picture=_sent(image["png"])), "dropped")["order"]
    answer = list(events(studio.post(order)))
    assert [image["png"] for image in named(answer, "image")] == [
        image["png"] for image in named(received, "image")
    ]


def test_a_training_image_is_named_a_copy(studio: Studio) -> None:
    image = tiny.stripes(12).batch([7])[0][0]
    nearest = only(studio.ask(kind="nearest", picture=sent(to_picture(image))), "nearest")
    assert (nearest["copy"], nearest["near"]) == (True, True)
    assert (nearest["nearest"][0]["index"], nearest["nearest"][0]["distance"]) == (7, 0)
    assert nearest["nearest"][0]["class"] == "bag"
    assert [neighbour["distance"] for neighbour in nearest["nearest"]] == sorted(
        neighbour["distance"] for neighbour in nearest["nearest"]
    )
    other = only(studio.ask(kind="nearest", picture=sent(Image.new("L", (8, 8), 255))), "nearest")
    assert (other["copy"], other["near"]) == (False, False)
    missing = studio.ask(kind="nearest", model="emoji-fast", picture=sent(to_picture(image)))
    sentence = "its training images are not on this machine; start the studio with --data"
    assert only(missing, "error")["message"] == f"{sentence} emoji-fast=FOLDER"


def test_real_images_are_of_the_classes_of_the_samples(studio: Studio) -> None:
    order = {"kind": "real", "of": studio.sample(classes=TWO)}
    received = studio.ask(**order)
    begun, shown = only(received, "begin"), images(received)
    assert begun["labels"] == only(studio.ask(**order["of"]), "begin")["labels"]
    assert (begun["count"], begun["heading"]) == (5, "Training images of data.npz")
    pixels, labels = tiny.stripes(12).batch(range(12))
    rows = [int((pixels == image).flatten(1).all(dim=1).nonzero()) for image in shown]
    assert [tiny.CLASSES[labels[row]] for row in rows] == begun["labels"]
    titles = [image["title"] for image in named(received, "image")]
    assert titles == [f"training image {row} of data.npz" for row in rows]
    assert len({*rows}) == 5
    assert torch.equal(images(studio.ask(**order)), shown)
    other = studio.sample(classes=TWO, settings={**QUICK, "seed": 1})
    assert not torch.equal(images(studio.ask(kind="real", of=other)), shown)
    for bad in ({"count": 65}, {"model": ""}, {"path": "/etc/passwd"}, {"kind": "real"}):
        assert studio.post({"kind": "real", "of": {**studio.sample(), **bad}}).status == 400
    missing = studio.ask(kind="real", of={"kind": "sample", "model": "emoji-fast"})
    assert "start the studio with --data emoji-fast=FOLDER" in only(missing, "error")["message"]


def test_real_images_are_test_images_where_the_data_have_them(
    studio: Studio, tmp_path: Path
) -> None:
    for place, path in enumerate(("train/bag", "train/sneaker", "test/bag")):
        (tmp_path / path).mkdir(parents=True)
        Image.new("L", (8, 8), 40 * place).save(tmp_path / path / "0.png")
    models, received = ModelCache([studio.model], {studio.model: str(tmp_path)}, "cpu"), []
    bags, sneakers = (
        orders.Real(kind="real", of=orders.Sample(**studio.sample(classes={name: 1})))
        for name in ("bag", "sneaker")
    )
    bags.carry_out(models, lambda name, data: received.append((name, data)))
    assert only(received, "begin")["heading"] == f"Test images of {tmp_path.name}"
    assert torch.equal(images(received), torch.full((1, 1, 8, 8), 80, dtype=torch.uint8))
    with pytest.raises(ValueError, match="has no images of 'sneaker'; choose another class"):
        sneakers.carry_out(models, lambda name, data: None)


def test_a_model_is_described_with_its_own_settings(studio: Studio) -> None:
    chosen = only(studio.ask(kind="choose"), "chosen")
    assert chosen["about"].startswith("digits 8x8: class-conditional diffusion model, trained")
    assert (chosen["kind"], chosen["shape"], chosen["classes"]) == (
        "diffusion",
        [1, 8, 8],
        [*tiny.CLASSES],
    )
    assert chosen["settings"]["grid"] == "even:steps=4"
    student = only(studio.ask(kind="choose", model=f"{studio.model}-fast"), "chosen")
    assert (student["kind"], student["steps"], student["scales"]) == ("student", [1, 2, 4], [0, 4])


BAD: dict[str, dict[str, Any]] = {
    "an unknown kind": {"kind": "delete"},
    "no model": {"kind": "choose", "model": ""},
    "another field": {"kind": "choose", "path": "/etc/passwd"},
    "too many": {"kind": "sample", "count": 65},
    "too many of a class": {"kind": "sample", "classes": {"bag": 65}},
    "none of a class": {"kind": "sample", "classes": {"bag": 0}},
    "a negative index": {"kind": "sample", "only": -1},
    "a long spec": {"kind": "sample", "settings": {"grid": "levels:" + "1," * 400}},
    "a setting of objects": {"kind": "sample", "settings": {"guide": [{"scale": 1}]}},
    "many settings": {"kind": "sample", "settings": {str(i): 1 for i in range(17)}},
    "no picture": {"kind": "nearest", "picture": ""},
    "no base64": {"kind": "nearest", "picture": "%%%"},
    "a large picture": {"kind": "nearest", "picture": "A" * (3 << 20)},
    "three pictures": {"kind": "edit", "pictures": ["QUJD"] * 3},
    "many cells": {"kind": "grid", "rows": {"name": "scale", "values": [*range(17)]}},
}


@pytest.mark.parametrize("name", BAD)
def test_orders_out_of_bounds_are_refused_before_any_work(studio: Studio, name: str) -> None:
    answer = studio.post({"model": studio.model, **BAD[name]})
    assert (answer.status, answer.getheader("content-type")) == (400, "application/json")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a model that is not offered": ({"model": "/etc/passwd"}, "model must be one of"),
    "compiling": ({"settings": {"compile": True}}, "settings.compile cannot be chosen"),
    "a gradient": ({"settings": {"gradient": "os:system"}}, "settings.gradient cannot be chosen"),
    "a gradient of one's own": ({"settings": {"guide": "gradient:by=os:system"}}, "needs gradient"),
    "an unknown sampler": ({"settings": {"sampler": "os:system"}}, "sampler must be one of"),
    "steps beyond T": ({"settings": {"steps": 21}}, "steps must be in 2..20"),
    "an unknown class": ({"classes": {"cat": 1}}, "there is no class 'cat'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_settings_are_reported_on_the_page(studio: Studio, name: str) -> None:
    changes, words = REFUSED[name]
    (event,) = events(studio.post(studio.sample(**changes)))
    assert event[0] == "error"
    assert words in event[1]["message"]


def test_a_new_sampler_is_on_the_page_by_itself(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Slow(DDIM):
        """DDIM with a pause.

        Attributes:
            pause: how long, in seconds.
        """

        pause: int = 3
        name: ClassVar[str] = "slow"

    monkeypatch.setitem(SAMPLERS, "slow", Slow)
    control = forms()["specs"]["sampler"]["slow"]["parameters"]["pause"]
    assert (control["about"], control["input"], control["default"]) == (
        "how long, in seconds",
        "number",
        "3",
    )
    slow = studio.ask(**studio.sample(settings={**QUICK, "sampler": "slow:pause=2"}))
    plain = studio.ask(**studio.sample(settings={**QUICK, "sampler": "ddim"}))
    assert torch.equal(images(slow), images(plain))


def test_a_control_fits_the_type_of_its_parameter() -> None:
    specs = forms()["specs"]
    ddim, unipc = specs["sampler"]["ddim"]["parameters"], specs["sampler"]["unipc"]["parameters"]
    assert (ddim["eta"]["input"], ddim["eta"]["min"], ddim["eta"]["max"]) == ("number", 0, 1)
    assert (unipc["order"]["step"], ddim["eta"]["step"]) == (1, "any")
    assert ddim["clip_again"]["input"] == "switch"
    assert ddim["noise"]["input"] == "text"
    assert control(Rounding) == {"input": "choice", "choices": ["nearest", "truncated"]}
    assert "compile" not in forms()["settings"]


def test_data_of_a_model_that_is_not_offered_is_refused() -> None:
    with pytest.raises(SettingError, match="data names 'elsewhere', which is not offered"):
        ModelCache(data={"elsewhere": "digits"})


def _sent(png: str) -> str:
    return png.replace("+", "-").replace("/", "_")


def sent_back(picture: Image.Image) -> str:
    return sent(picture).replace("-", "+").replace("_", "/")
