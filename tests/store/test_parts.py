"""A part of a job is read as it was written, or not at all."""

from pathlib import Path

import numpy as np

from adm.store.parts import Parts


def write_parts(folder: Path) -> Parts:
    parts = Parts(folder, "these settings")
    for span in (range(8), range(4, 12), range(20, 24)):
        parts.write(span, images=np.arange(len(span) * 3, dtype=np.uint8).reshape(-1, 3))
    return parts


def test_parts_list_stored_and_missing_spans(tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "new")
    (tmp_path / "new" / "notes.npz").touch()
    assert parts.spans() == [range(8), range(4, 12), range(20, 24)]
    assert parts.missing(range(30)) == [range(12, 20), range(24, 30)]
    assert parts.missing(range(10)) == []
    assert Parts(tmp_path / "absent", "x").missing(range(3)) == [range(3)]


def test_a_part_of_another_job_is_not_read(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    read = parts.read(range(20, 24))
    assert read is not None
    np.testing.assert_array_equal(read["images"], np.arange(12, dtype=np.uint8).reshape(4, 3))
    assert Parts(tmp_path, "other settings").read(range(20, 24)) is None
    assert parts.read(range(20, 25)) is None


def test_a_part_with_a_changed_byte_holds_the_same_arrays_or_is_not_read(tmp_path: Path) -> None:
    parts, span = write_parts(tmp_path), range(20, 24)
    path, sound = parts.path(span), parts.read(span)
    assert sound is not None
    content, damaged = path.read_bytes(), 0
    places = range(0, len(content), 5)
    for place in places:
        changed = bytearray(content)
        changed[place] ^= (1, 128, 255)[place % 3]
        path.write_bytes(changed)
        read = parts.read(span)
        if read is None:
            damaged += 1
            continue
        assert read.keys() == sound.keys()
        np.testing.assert_array_equal(read["images"], sound["images"], strict=True)
    assert damaged > len(places) // 2
    path.write_bytes(content[:-1])
    assert parts.read(span) is None
