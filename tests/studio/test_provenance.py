"""PNG -> the order that made it, or nothing; a page's choice -> words of a shell, and of Python."""

import io
import json
import shlex
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from adm.app.cli.sampling import Settings
from adm.app.studio import provenance
from adm.app.studio.orders import OPEN, Origin, Sample
from adm.app.studio.provenance import OPTIONS, annotation, call, shell
from adm.limits import MOST_TEXT

IMAGE = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
CHOSEN = {"scale": 2.0, "guide": ["free:1"]}
ORDER = Sample(kind="sample", model="fashion", classes={"bag": 1}, settings=CHOSEN, only=7)
TEXT = json.dumps(Origin(order=ORDER, index=7).model_dump(mode="json"))
WHOLE = provenance.annotate(IMAGE, TEXT)
SIGNATURE = WHOLE[:8]


def noted(text: bytes, kind: bytes = b"tEXt", key: bytes = b"adm\0") -> bytes:
    """A PNG with one chunk of text in place of its own."""
    data = kind + key + text
    size, check = (len(key + text)).to_bytes(4), zlib.crc32(data).to_bytes(4)
    return WHOLE[:33] + size + data + check + WHOLE[WHOLE.index(b"IDAT") - 4 :]


def test_the_picture_is_the_image_and_carries_its_order() -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(WHOLE))), IMAGE[0])
    assert annotation(WHOLE) == TEXT
    assert Origin.model_validate_json(TEXT).order == ORDER


BOMB = zlib.compress(b" " * (1 << 26))
UNMARKED = {
    "nothing": b"",
    "another format": b"GIF89a" + WHOLE,
    "more text than a PNG of ours has": noted(b" " * MOST_TEXT + b'{"model": "m"}'),
    "a length beyond the end": SIGNATURE + b"\xff\xff\xff\xfftEXtadm\0",
    "a compressed bomb": noted(b"\0" + BOMB, b"zTXt"),
    "an international bomb": noted(b"\1\0\0\0" + BOMB, b"iTXt"),
    "no text": noted(b"", key=b"not\0"),
}


@pytest.mark.parametrize("case", UNMARKED)
def test_a_picture_without_a_text_of_ours_has_none(case: str) -> None:
    assert annotation(UNMARKED[case]) is None


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_byte_that_is_changed_changes_nothing_or_is_noticed(place: int, by: int) -> None:
    content = bytearray(WHOLE)
    content[place] ^= by
    assert annotation(bytes(content)) in (TEXT, None)
    assert annotation(WHOLE[:place]) in (TEXT, None)


WORDS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
VALUES = WORDS | st.lists(WORDS, max_size=3) | st.dictionaries(st.text(max_size=3), WORDS)
ORDERS = st.dictionaries(st.sampled_from([*Sample.model_fields, "out"]), VALUES)


@settings(deadline=None)
@given(ORDERS | VALUES, VALUES | st.just(7))
def test_whatever_a_text_holds_is_an_order_or_refused(order: Any, index: Any) -> None:
    changed = {**ORDER.model_dump(), **order} if isinstance(order, dict) else order
    try:
        read = Origin.model_validate_json(json.dumps({"order": changed, "index": index}))
    except ValidationError:
        return
    assert Origin.model_validate_json(json.dumps(read.model_dump(mode="json"))) == read


def test_every_option_of_the_command_that_the_page_may_give_is_known() -> None:
    assert {*OPTIONS} == {field.name for field in fields(Settings)} & OPEN


def test_words_that_a_shell_would_act_upon_are_quoted() -> None:
    hostile = {"scale": -2.0, "threshold": "$(x)"}
    line = shell(["adm", "sample", "m; rm"], {"classes": "bag$(x)"}, hostile, {"out": "out/a b"})
    assert shlex.split(line) == [
        *("adm", "sample", "m; rm", "--classes", "bag$(x)"),
        *("--scale=-2", "--set", "threshold=$(x)", "--out", "out/a b"),
    ]


def test_values_are_literals_of_python() -> None:
    hostile = 'é"); rm'
    arguments = call([hostile], {"encoding": None})
    assert eval(f"str({arguments})") == hostile
    assert call([], {"then": ["at:9"], "scale": 2.0}) == 'then=["at:9"], scale=2.0'
