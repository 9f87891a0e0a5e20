"""settings -> PNG -> settings -> command, lines of Python -> the same image, byte for byte."""

import io
import json
import shlex
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import adm
from adm.app.cli import main
from adm.app.cli.sampling import Settings
from adm.app.studio import provenance
from adm.app.studio.provenance import OPTIONS, Provenance, command, differing, lines
from adm.limits import MOST_TEXT
from adm.spec import SettingError

IMAGE = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
PLAIN = Provenance(
    model="fashion", index=7, classes="bag", settings={"scale": 2.0, "guide": ("free:1",)}
)
WHOLE = provenance.write(IMAGE, PLAIN)
THEN = "at:9,classes=sneaker,guide=classifier:scale=4,interval=3-20"
# The models, the settings that sample, and the settings that are recalled.
CASES: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "by default": ({"model": "m"}, {}, {}),
    "classes": ({"model": "m"}, {"classes": "sneaker:2,ankle boot:2"}, {}),
    "a seed": ({"model": "m"}, {"seed": 2**64 - 1, "scale": None}, {"seed": 2**64 - 1}),
    "specs": (
        {"model": "m", "classifier": "c", "weak": "w"},
        {
            "sampler": "ddim:eta=0.5",
            "grid": "karras:steps=3,end=2",
            "guide": ["classifier:scale=2,interval=3-9", "weak:scale=1.5"],
            "threshold": "dynamic",
            "rounding": "truncated",
        },
        {
            "sampler": "ddim:eta=0.5",
            "grid": "karras:steps=3,end=2",
            "guide": ("classifier:scale=2,interval=3-9", "weak:scale=1.5"),
            "threshold": "dynamic",
            "rounding": "truncated",
        },
    ),
    "then": (
        {"model": "m", "classifier": "c"},
        {"scale": -1.5, "steps": 3, "then": [THEN, "at:3,scale=0"]},
        {
            "then": (f"at:level={THEN[3:]}", "at:level=3,scale=0"),
            "scale": -1.5,
            "steps": 3,
        },
    ),
    "a student": (
        {"model": "s"},
        {"steps": 2, "scale": 1, "use_labels": True},
        {"scale": 1.0, "steps": 2},
    ),
    "an upsampler": (
        {"model": "b", "upsampler": "u"},
        {"steps": 3, "upsampler_steps": 2},
        {"upsampler_steps": 2, "steps": 3},
    ),
    "no classes": (
        {"model": "n"},
        {"classes": None, "precision": "bfloat16"},
        {"precision": "bfloat16"},
    ),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    recipes = {
        "m": tiny.diffusion(),
        "w": tiny.diffusion(),
        "c": tiny.classifier(),
        "s": tiny.student(),
        "b": tiny.diffusion("data.size=4,4"),
        "u": tiny.upsampler(),
    }
    paths = {
        name: tiny.model(folder / f"{name}.safetensors", chosen, seed=ord(name))
        for name, chosen in recipes.items()
    }
    bare = tiny.diffusion("unet.classes=null")
    paths["n"] = tiny.model(folder / "n.safetensors", bare, ())
    return {name: str(path) for name, path in paths.items()}


@pytest.mark.parametrize("case", CASES)
def test_the_command_and_the_lines_make_exactly_this_image(
    case: str, places: dict[str, str], tmp_path: Path
) -> None:
    models, options, expected = CASES[case]
    options = {"classes": "bag:4", **options}
    pipeline = adm.load(**{name: places[model] for name, model in models.items()})
    classes = options.pop("classes")
    samples = pipeline.sample(classes, 4 if classes is None else None, **options)
    index = 2
    name = None if samples.labels is None else samples.classes[samples.labels[index]]
    recalled = differing(pipeline, **options)
    assert recalled == expected
    record = Provenance(**models, index=index, classes=name, settings=recalled)
    assert provenance.read(provenance.write(samples[index], record)) == record

    scope: dict[str, Any] = {}
    exec(lines(record, places), scope)
    assert torch.equal(scope["image"], samples[index])

    out = tmp_path / "the image's"
    words = shlex.split(command(record, str(out), places))
    assert words[0] == "adm"
    with pytest.raises(SystemExit) as end:
        main(words[1:])
    assert not end.value.code
    *_, file = sorted(out.glob("*_0*.png"))
    assert file.stem.endswith(f"{index:06d}")
    assert np.array_equal(np.asarray(Image.open(file)), samples[index].permute(1, 2, 0).squeeze(2))


def test_the_picture_is_the_image_and_pillow_reads_its_text() -> None:
    picture = Image.open(io.BytesIO(WHOLE))
    assert np.array_equal(np.asarray(picture), IMAGE[0])
    assert json.loads(picture.text["adm"])["model"] == "fashion"  # type: ignore[attr-defined]
    assert provenance.read(WHOLE) == PLAIN
    assert provenance.write(IMAGE, PLAIN) == WHOLE


def test_every_setting_of_the_command_has_an_option() -> None:
    assert {*OPTIONS} == {field.name for field in fields(Settings)} - {"set"}


def test_words_that_a_shell_would_act_upon_are_quoted() -> None:
    hostile = Provenance(model="m; rm", classes="bag$(x)", settings={"scale": -2.0})
    words = shlex.split(command(hostile, "out/a b"))
    assert words[:3] == ["adm", "sample", "m; rm"]
    assert "bag$(x)" in words
    assert "--scale=-2" in words
    scope: dict[str, Any] = {}
    text = lines(hostile).replace("import adm", "import builtins as adm").replace("adm.load", "str")
    exec(text.splitlines()[2], scope)
    assert scope["model"] == "m; rm"


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "../m"},
        {"model": "/etc/passwd"},
        {"model": "a\\b"},
        {"model": "runs/m"},
        {"model": "hf:a/../b"},
        {"model": "-m"},
        {"model": ""},
        {"model": "m\n"},
        {"model": "m", "upsampler": "../u"},
        {"model": "m", "index": -1},
        {"model": "m", "index": 10**8},
        {"model": "m", "classes": "--overwrite"},
        {"model": "m", "classes": "bag:3"},
        {"model": "m", "classes": "all"},
        {"model": "m", "classes": "bag\x1b[2J"},
        {"model": "m", "settings": {"out": "x"}},
        {"model": "m", "settings": {"gradient": "os.system"}},
        {"model": "m", "settings": {"steps": 10**9}},
        {"model": "m", "settings": {"sampler": "os:system=1"}},
        {"model": "m", "settings": {"guide": 3}},
        {"model": "m", "settings": {"then": ("at:9",)}},
        {"model": "m", "settings": {"upsampler_steps": "many"}},
        {"model": "m", "settings": {"seed": "1\n2"}},
    ],
    ids=str,
)
def test_invalid_names_and_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        Provenance(**arguments)
    with pytest.raises(SettingError, match="picture must be a PNG that stores its settings"):
        provenance.read(noted(json.dumps(arguments).encode()))


SIGNATURE = WHOLE[:8]


def noted(text: bytes, kind: bytes = b"tEXt", key: bytes = b"adm\0") -> bytes:
    """A PNG with one chunk of text in place of its own."""
    data = kind + key + text
    size, check = (len(key + text)).to_bytes(4), zlib.crc32(data).to_bytes(4)
    return WHOLE[:33] + size + data + check + WHOLE[WHOLE.index(b"IDAT") - 4 :]


BOMB = zlib.compress(b" " * (1 << 26))
HOSTILE = {
    "nothing": b"",
    "another format": b"GIF89a" + WHOLE,
    "text that is no JSON": noted(b"{"),
    "a list": noted(b"[]"),
    "an unknown key": noted(b'{"model": "m", "out": "/tmp"}'),
    "a number for a text": noted(b'{"model": 3}'),
    "a text for a number": noted(b'{"model": "m", "index": "3"}'),
    "deep nesting": noted(b"[" * 30_000),
    "more text than a PNG of ours has": noted(b" " * MOST_TEXT + b'{"model": "m"}'),
    "a length beyond the end": SIGNATURE + b"\xff\xff\xff\xfftEXtadm\0",
    "a compressed bomb": noted(b"\0" + BOMB, b"zTXt"),
    "an international bomb": noted(b"\1\0\0\0" + BOMB, b"iTXt"),
    "no text": noted(b"", key=b"not\0"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_picture_is_refused(case: str) -> None:
    with pytest.raises(SettingError, match="picture must be a PNG that stores its settings"):
        provenance.read(HOSTILE[case])


def test_a_picture_that_is_too_large_is_not_searched() -> None:
    with pytest.raises(SettingError, match="more than"):
        provenance.read(WHOLE + bytes(provenance.MOST_BYTES))


def test_a_picture_of_four_gigapixels_is_refused() -> None:
    header = WHOLE[12:16] + 2 * (1 << 16).to_bytes(4) + WHOLE[24:29]
    huge = WHOLE[:12] + header + zlib.crc32(header).to_bytes(4) + WHOLE[33:]
    with pytest.raises(SettingError, match="picture must be a PNG"):
        provenance.read(huge)


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_picture_that_ends_early_is_whole_or_refused(stop: int) -> None:
    pixels = WHOLE.index(b"IDAT") + 4  # where the text has ended
    if stop >= pixels:
        assert provenance.read(WHOLE[:stop]) == PLAIN
    else:
        with pytest.raises(SettingError):
            provenance.read(WHOLE[:stop])


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_byte_that_is_changed_changes_nothing_or_is_noticed(place: int, by: int) -> None:
    content = bytearray(WHOLE)
    content[place] ^= by
    try:
        assert provenance.read(bytes(content)) == PLAIN
    except SettingError:
        assert place < WHOLE.index(b"IDAT") + 4


TEXTS = st.text("ab9,:=-/é\n", max_size=6)
WORDS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = WORDS | st.lists(WORDS, max_size=3) | st.dictionaries(TEXTS, WORDS, max_size=2)
NAMES = st.sampled_from([each.name for each in fields(Provenance)])
OF_SETTINGS = st.dictionaries(st.sampled_from(["steps", "guide", "then", "scale", "x"]), VALUES)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=3), OF_SETTINGS)
def test_whatever_a_text_holds_is_read_or_refused(others: Any, stored: Any) -> None:
    values = {"model": "m", "settings": stored} | others
    try:
        recalled = provenance.read(noted(json.dumps(values).encode()))
    except SettingError:
        return
    assert provenance.read(provenance.write(IMAGE, recalled)) == recalled
    assert shlex.split(command(recalled, "out"))[:3] == ["adm", "sample", recalled.model]
    compile(lines(recalled), "lines", "exec")
